//! What the course says, measured again.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use check::Client;
use serde_json::Value;
use subprocess::Server;

use crate::{Executables, Measurement, STAGES, Settings, build, measure, stop};

/// A sentence of the course, and how to find out.
pub struct Claim {
    /// The sentence.
    pub text: &'static str,
    /// Measures it.
    pub check: fn(&mut Bench) -> io::Result<Verdict>,
}

/// What was found out.
pub struct Verdict {
    /// Whether it holds.
    pub holds: bool,
    /// The figure.
    pub figure: String,
}

impl Verdict {
    /// It in a word or three.
    pub fn word(&self) -> &'static str {
        if self.holds { "holds" } else { "does not hold" }
    }
}

fn verdict(holds: bool, figure: String) -> io::Result<Verdict> {
    Ok(Verdict { holds, figure })
}

/// The claims. A stage adds its own here.
pub const CLAIMS: &[Claim] = &[
    Claim {
        text: "step 1 takes N times as long for N clients",
        check: |bench| one_after_another(bench, "step1-sequential"),
    },
    Claim {
        text: "step 1 greets a client when the one before has left",
        check: |bench| {
            let m = bench.measure("step1-sequential", 5)?;
            let least = m.greeted.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::MAX, f64::min);
            verdict(least >= 0.99 * m.ideal, format!("at least {least:.2} s apart"))
        },
    },
    Claim {
        text: "step 2 takes as long for 5 clients as for one",
        check: |bench| together(bench, "step2-thread-per-client", 5, 0.1),
    },
    Claim {
        text: "step 2 takes less than 2.6 s for 200 clients",
        check: |bench| together(bench, "step2-thread-per-client", 200, 0.4),
    },
    Claim {
        text: "step 2 has a thread for each client, and one more",
        check: |bench| {
            let m = bench.measure("step2-thread-per-client", 200)?;
            let threads = threads(m)?;
            verdict(
                threads == m.clients as u64 + 1,
                format!("{threads} threads for {} clients", m.clients),
            )
        },
    },
    Claim {
        text: "step 3 takes N times as long for N clients",
        check: |bench| one_after_another(bench, "step3-blocking"),
    },
    Claim {
        text: "step 3 uses nearly no CPU while it waits",
        check: |bench| {
            let m = bench.measure("step3-blocking", 5)?;
            let share = m.cpu / m.elapsed;
            verdict(share < 0.01, format!("{:.2} percent of one core", 100.0 * share))
        },
    },
    Claim {
        text: "step 4 takes at most a few of its 200 ms intervals longer than one client",
        check: |bench| together(bench, "step4-nonblocking-poll", 5, 0.8),
    },
    Claim {
        text: "more than half of step 4's accepts and recvs find nothing",
        check: |bench| {
            let m = bench.measure("step4-nonblocking-poll", 5)?;
            verdict(2 * m.found_nothing > m.asked, format!("{} of {}", m.found_nothing, m.asked))
        },
    },
    Claim {
        text: "step 5 serves 200 clients at once on one thread",
        check: |bench| one_thread(bench, "step5-select"),
    },
    Claim {
        text: "step 6 serves 200 clients at once on one thread",
        check: |bench| one_thread(bench, "step6-epoll-kqueue"),
    },
    Claim {
        text: "a message costs step 5 more when 900 others are idle",
        check: |bench| {
            let ratio = bench.cost_of_idle_peers("step5-select")?;
            verdict(
                ratio > 1.5,
                format!("{ratio:.1} times the CPU time per message of 10 idle peers"),
            )
        },
    },
    Claim {
        text: "a message costs step 6 the same when 900 others are idle",
        check: |bench| {
            let ratio = bench.cost_of_idle_peers("step6-epoll-kqueue")?;
            verdict(
                ratio < 1.4,
                format!("{ratio:.1} times the CPU time per message of 10 idle peers"),
            )
        },
    },
    Claim {
        text: "step 6 makes one wait, one recv and one send for a message",
        check: |bench| bench.calls_per_message("step6-epoll-kqueue"),
    },
    Claim {
        text: "step 7 does not either make another call for a message",
        check: |bench| bench.calls_per_message("step7-event-loop"),
    },
    Claim {
        text: "step 7 answers at least 0.9 times as many messages per second as step 6",
        check: |bench| {
            let ratio = bench.throughput_ratio("step7-event-loop", "step6-epoll-kqueue")?;
            verdict(ratio > 0.9, format!("{ratio:.2} times, with 50 connections"))
        },
    },
    Claim {
        text: "a callback that computes holds up everybody (isprime-server --mode block)",
        check: |bench| {
            let (slow, quick) = bench.two_numbers("block")?;
            verdict(
                quick > 0.5 * slow,
                format!("7 took {quick:.3} s beside a number that takes {slow:.1} s"),
            )
        },
    },
    Claim {
        text: "the same work on the pool holds up nobody (isprime-server --mode pool)",
        check: |bench| {
            let (slow, quick) = bench.two_numbers("pool")?;
            verdict(
                quick < 0.1,
                format!("7 took {quick:.3} s beside a number that takes {slow:.1} s"),
            )
        },
    },
];

fn one_after_another(bench: &mut Bench, stage: &str) -> io::Result<Verdict> {
    let m = bench.measure(stage, 5)?;
    let times = m.times_ideal();
    verdict(
        (4.95..5.5).contains(&times),
        format!("{:.2} s for 5, {times:.2} times {:.1} s", m.elapsed, m.ideal),
    )
}

fn together(bench: &mut Bench, stage: &str, clients: usize, tolerance: f64) -> io::Result<Verdict> {
    let m = bench.measure(stage, clients)?;
    verdict(
        m.elapsed - m.ideal < tolerance,
        format!("{:.2} s for {clients}, {:.2} s at best", m.elapsed, m.ideal),
    )
}

fn threads(m: &Measurement) -> io::Result<u64> {
    let unknown = || io::Error::other("this system does not say how many threads it has");
    m.threads.ok_or_else(unknown)
}

fn one_thread(bench: &mut Bench, stage: &str) -> io::Result<Verdict> {
    let m = bench.measure(stage, 200)?;
    let threads = threads(m)?;
    verdict(
        threads == 1 && m.elapsed - m.ideal < 0.4,
        format!("{:.2} s, threads: {threads}", m.elapsed),
    )
}

/// The stages, built, and what has been measured of them so far.
pub struct Bench {
    executables: Executables,
    measured: HashMap<(String, usize), Measurement>,
}

impl Bench {
    /// Builds everything that the claims are about.
    ///
    /// # Errors
    /// cargo cannot be run.
    pub fn new(profile: &str) -> io::Result<Self> {
        let mut targets: Vec<_> = STAGES.iter().map(|stage| stage.package).collect();
        targets.push("step7-event-loop/isprime-server");
        Ok(Bench { executables: build(&targets, profile)?, measured: HashMap::new() })
    }

    fn executable(&self, name: &str) -> io::Result<&std::path::PathBuf> {
        self.executables.get(name).ok_or_else(|| io::Error::other(format!("{name} was not built")))
    }

    fn measure(&mut self, package: &str, clients: usize) -> io::Result<&Measurement> {
        let key = (package.to_owned(), clients);
        if !self.measured.contains_key(&key) {
            let stage = STAGES.iter().find(|stage| stage.package == package);
            let stage = *stage.ok_or_else(|| io::Error::other(format!("no stage {package}")))?;
            let settings = Settings {
                clients,
                sequential_max: clients,
                delay: 1.0,
                verbose: false,
                timeline: false,
            };
            let measurement = measure(self.executable(package)?, stage, &settings, |_| {})?;
            self.measured.insert(key.clone(), measurement);
        }
        Ok(&self.measured[&key])
    }

    /// How many times as much CPU time the server uses for a message with 900 idle peers as with 10: the median of five
    /// pairs, taken in turns. CPU time, because the time on the clock depends more on which core the scheduler puts
    /// client and server on than on what the server does. (Where there is no CPU time to be had it has to be the clock.)
    fn cost_of_idle_peers(&self, stage: &str) -> io::Result<f64> {
        let mut ratios = Vec::new();
        for _ in 0..5 {
            let [few, many] = [self.cost_beside(stage, 10)?, self.cost_beside(stage, 900)?];
            ratios.push(many / few);
        }
        Ok(median(ratios))
    }

    /// What a message costs, in seconds, beside so many idle peers.
    ///
    /// # Errors
    /// The server does not serve.
    pub fn cost_beside(&self, stage: &str, idle: usize) -> io::Result<f64> {
        const ENOUGH: Duration = Duration::from_millis(300);
        let server = Server::start(self.executable(stage)?, ["0", "--stats", "-q"])?;
        let peers =
            (0..idle).map(|_| Client::greeted(server.address())).collect::<Result<Vec<_>, _>>()?;
        let mut client = Client::greeted(server.address())?;
        echo(&mut client, 100)?;
        // Ten ticks are coarse, and still say more than the clock.
        let cpu_time = || server.cpu_time_of_threads().or_else(|| server.cpu_time());
        let (started, before) = (Instant::now(), cpu_time());
        let mut messages = 0;
        while started.elapsed() < ENOUGH {
            echo(&mut client, 100)?;
            messages += 100;
        }
        let elapsed = started.elapsed();
        let used = cpu_time().zip(before).and_then(|(after, before)| after.checked_sub(before));
        drop(peers);
        stop(server, false)?;
        let used = used.filter(|used| !used.is_zero()).unwrap_or(elapsed);
        Ok(used.as_secs_f64() / f64::from(messages))
    }

    fn calls_per_message(&self, stage: &str) -> io::Result<Verdict> {
        const MESSAGES: u32 = 1000;
        // What a connection costs apart from its messages is what one without any costs.
        let mut calls = [HashMap::new(), HashMap::new()];
        for (calls, messages) in calls.iter_mut().zip([0, MESSAGES]) {
            let server = Server::start(self.executable(stage)?, ["0", "--stats", "-q"])?;
            let mut client = Client::greeted(server.address())?;
            echo(&mut client, messages)?;
            let (_, stats) = stop(server, false)?;
            let Some(counts) = stats["syscalls"].as_object() else { continue };
            let counts = counts.iter().map(|(name, count)| (name.clone(), count["calls"].as_u64()));
            *calls = counts.map(|(name, count)| (name, count.unwrap_or_default())).collect();
        }
        let [without, with] = calls;
        let mut each: Vec<_> = with
            .into_iter()
            .map(|(name, count)| {
                let base = without.get(&name).copied().unwrap_or_default();
                ((count as f64 - base as f64) / f64::from(MESSAGES), name)
            })
            .filter(|(each, _)| *each > 0.005)
            .collect();
        each.sort_by(|a, b| a.1.cmp(&b.1));
        let holds = each.len() == 3 && each.iter().all(|(each, _)| (each - 1.0).abs() < 0.01);
        let figure: Vec<_> = each.iter().map(|(each, name)| format!("{name} {each:.2}")).collect();
        verdict(holds, figure.join(", "))
    }

    /// How many times as many messages per second one stage answers as another: the median of five pairs, each measured
    /// within the same few seconds, since a machine's speed drifts.
    fn throughput_ratio(&self, stage: &str, other: &str) -> io::Result<f64> {
        let throughput = |stage: &str| -> io::Result<f64> {
            let server = Server::start(self.executable(stage)?, ["0", "--stats", "-q"])?;
            let report = load::run(&load::Options {
                address: server.address(),
                connections: 50,
                idle: 0,
                size: 64,
                duration: Duration::from_secs(1),
                rate: None,
                timeout: Duration::from_secs(10),
            })?;
            stop(server, false)?;
            match report.errors.first() {
                Some(error) => Err(io::Error::other(error.clone())),
                None => Ok(report.messages_per_second),
            }
        };
        let mut ratios = Vec::new();
        for _ in 0..5 {
            ratios.push(throughput(stage)? / throughput(other)?);
        }
        Ok(median(ratios))
    }

    /// How long a large prime takes, and how long 7 takes that is asked for just after it on another connection.
    fn two_numbers(&self, mode: &str) -> io::Result<(f64, f64)> {
        const LARGE_PRIME: &str = "9223372036854775783"; // the largest below 2^63
        let server = Server::start(
            self.executable("isprime-server")?,
            ["0", "--stats", "-q", "--mode", mode],
        )?;
        let ask = |number: &str| -> io::Result<(TcpStream, Instant)> {
            let mut stream = TcpStream::connect(server.address())?;
            stream.set_read_timeout(Some(Duration::from_secs(120)))?;
            writeln!(stream, "{number}")?;
            Ok((stream, Instant::now()))
        };
        let (mut slow, slow_started) = ask(LARGE_PRIME)?;
        // Once the server has answered another number, or is stuck, it has the large one in hand.
        std::thread::sleep(Duration::from_millis(200));
        let (mut quick, quick_started) = ask("7")?;
        let mut answer = [0; 6];
        quick.read_exact(&mut answer)?;
        let quick_took = quick_started.elapsed().as_secs_f64();
        slow.read_exact(&mut answer)?;
        let slow_took = slow_started.elapsed().as_secs_f64();
        let _: (_, Value) = stop(server, false)?;
        Ok((slow_took, quick_took))
    }
}

/// Sends messages one by one, each when the one before has been answered.
fn echo(client: &mut Client, messages: u32) -> io::Result<()> {
    Ok((0..messages).try_for_each(|_| client.echo(b"^hello$"))?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
