//! What the course says, measured again.

use std::io;

use crate::Measurement;
use crate::bench::{Bench, median};

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
    /// The verdict in a few words.
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
        check: |bench| one_of_each(bench, "step6-epoll-kqueue"),
    },
    Claim {
        text: "step 7 does not either make another call for a message",
        check: |bench| one_of_each(bench, "step7-event-loop"),
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
    Claim {
        text: "async-echo takes as long as step 6 for 200 clients, on one thread",
        check: |bench| {
            let step6 = bench.measure("step6-epoll-kqueue", 200)?.elapsed;
            let m = bench.measure("async-echo", 200)?;
            let threads = threads(m)?;
            verdict(
                threads == 1 && m.elapsed < 1.05 * step6,
                format!("{:.2} s, step 6 {step6:.2} s, threads: {threads}", m.elapsed),
            )
        },
    },
    Claim {
        text: "async-echo makes one wait, one recv and one send for a message",
        check: |bench| one_of_each(bench, "async-echo"),
    },
    Claim {
        text: "a message costs async-echo at most 10 percent more CPU time than step 6, and no more than Tokio to 3 percent, with 64 connections",
        check: |bench| cost_of_tasks(bench, 0),
    },
    Claim {
        text: "a message costs async-echo at most 10 percent more CPU time than step 6, and no more than Tokio to 3 percent, beside 5,000 idle peers",
        check: |bench| cost_of_tasks(bench, 5000),
    },
    Claim {
        text: "10,000 idle tasks take at most 1 KiB of user memory each (async-echo)",
        check: |bench| {
            let tasks = as_many_peers(10_000)?;
            let each = bench.memory_per_peer("async-echo", tasks)?;
            verdict(each <= 1024, format!("{each} bytes, with {tasks} tasks"))
        },
    },
];

fn one_after_another(bench: &mut Bench, stage: &str) -> io::Result<Verdict> {
    let m = bench.measure(stage, 5)?;
    let times = m.times_ideal().unwrap_or_default();
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

fn one_of_each(bench: &Bench, stage: &str) -> io::Result<Verdict> {
    let calls = bench.calls_per_message(stage)?;
    let holds = calls.len() == 3 && calls.iter().all(|(each, _)| (each - 1.0).abs() < 0.01);
    let figure: Vec<_> = calls.iter().map(|(each, name)| format!("{name} {each:.2}")).collect();
    verdict(holds, figure.join(", "))
}

/// What async-echo uses for a message, beside step 6 and Tokio: medians of fifty ratios, which came out within 3 percent of
/// each other when they were measured again, on a quiet machine and on one with other guests.
fn cost_of_tasks(bench: &Bench, idle: usize) -> io::Result<Verdict> {
    let servers = ["async-echo", "step6-epoll-kqueue", "tokio-echo"];
    let idle = as_many_peers(servers.len() * idle)? / servers.len();
    let rounds = bench.costs_in_turns(servers, idle)?;
    let to_step6 = median(rounds.iter().map(|[own, step6, _]| own / step6).collect());
    let to_tokio = median(rounds.iter().map(|[own, _, tokio]| own / tokio).collect());
    let own = median(rounds.iter().map(|[own, ..]| 1e6 * own).collect());
    verdict(
        to_step6 <= 1.1 && to_tokio <= 1.03,
        format!(
            "{to_step6:.2} times step 6, {to_tokio:.2} times Tokio ({own:.1} µs, idle peers: {idle})"
        ),
    )
}

/// `wanted`, or as many as the limit of descriptors allows, with some left for everything else.
fn as_many_peers(wanted: usize) -> io::Result<usize> {
    Ok(client::raise_descriptor_limit()?.saturating_sub(200).min(wanted))
}
