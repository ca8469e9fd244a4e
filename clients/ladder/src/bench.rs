//! The measuring behind the claims.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use check::Client;
use serde_json::Value;
use subprocess::Server;

use crate::{Executables, Measurement, Settings, build, measure, servers, stop};

/// The largest below 2^63.
pub(crate) const LARGE_PRIME: u64 = 9_223_372_036_854_775_783;

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
        let mut targets: Vec<_> = servers().map(|stage| stage.target()).collect();
        targets.push("step7-event-loop/isprime-server".to_owned());
        Ok(Bench { executables: build(&targets, profile)?, measured: HashMap::new() })
    }

    fn executable(&self, name: &str) -> io::Result<&std::path::PathBuf> {
        self.executables.get(name).ok_or_else(|| io::Error::other(format!("{name} was not built")))
    }

    /// How it serves so many clients. What has been measured once is not measured again.
    pub(crate) fn measure(&mut self, server: &str, clients: usize) -> io::Result<&Measurement> {
        let key = (server.to_owned(), clients);
        if !self.measured.contains_key(&key) {
            let stage = servers().find(|stage| stage.server == server);
            let stage = stage.ok_or_else(|| io::Error::other(format!("no stage {server}")))?;
            let settings = Settings {
                clients,
                sequential_max: clients,
                delay: 1.0,
                verbose: false,
                timeline: false,
            };
            let measurement = measure(self.executable(server)?, stage, &settings, |_| {})?;
            self.measured.insert(key.clone(), measurement);
        }
        Ok(&self.measured[&key])
    }

    /// How many times as much CPU time the server uses for a message with 900 idle peers as with 10: the median of five
    /// pairs, taken in turns. CPU time, because the time on the clock depends more on which core the scheduler puts
    /// client and server on than on what the server does. (Where the system does not tell the CPU time, it is the
    /// clock.)
    pub(crate) fn cost_of_idle_peers(&self, stage: &str) -> io::Result<f64> {
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
        let cost = cost_of(&server, || {
            let started = Instant::now();
            let mut messages = 0;
            while started.elapsed() < ENOUGH {
                echo(&mut client, 100)?;
                messages += 100;
            }
            Ok(messages)
        })?;
        drop(peers);
        stop(server, false)?;
        Ok(cost)
    }

    /// What a message costs each of the servers, in seconds, when 64 connections send as fast as they are answered, beside so
    /// many idle peers; again and again, and each time all servers in turn.
    ///
    /// A tenth of a second each: the same work takes up to twice the CPU time when the host has other work, for seconds
    /// or for minutes. Within a round this mostly hits all servers alike, so the ratios of a round can be believed.
    pub(crate) fn costs_in_turns<const N: usize>(
        &self,
        stages: [&str; N],
        idle: usize,
    ) -> io::Result<Vec<[f64; N]>> {
        const ROUNDS: usize = 50;
        const TURN: Duration = Duration::from_millis(100);
        let mut servers = Vec::new();
        for stage in stages {
            let server = Server::start(self.executable(stage)?, ["0", "--stats", "-q"])?;
            let peers = (0..idle).map(|_| Client::greeted(server.address()));
            let peers = peers.collect::<Result<Vec<_>, _>>()?;
            servers.push((server, peers));
        }
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let mut costs = [0.0; N];
            for (cost, (server, _)) in costs.iter_mut().zip(&servers) {
                *cost = cost_of(server, || Ok(load(server, 64, TURN)?.messages))?;
            }
            rounds.push(costs);
        }
        for (server, peers) in servers {
            drop(peers);
            stop(server, false)?;
        }
        Ok(rounds)
    }

    /// How many bytes of memory the server has resident for each of so many peers that have been greeted and answered.
    pub(crate) fn memory_per_peer(&self, stage: &str, peers: usize) -> io::Result<u64> {
        let unknown = || io::Error::other("this system does not say how much memory it has");
        check::memory_of_idle_peers(self.executable(stage)?, peers)?.ok_or_else(unknown)
    }

    /// How often each of its system calls is made for a message.
    pub(crate) fn calls_per_message(&self, stage: &str) -> io::Result<Vec<(f64, String)>> {
        const MESSAGES: u32 = 1000;
        // A connection without messages tells what a connection costs apart from its messages.
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
        Ok(each)
    }

    /// How many times as many messages per second one stage answers as another: the median of five pairs, each measured
    /// within the same few seconds, since a machine's speed drifts.
    pub(crate) fn throughput_ratio(&self, stage: &str, other: &str) -> io::Result<f64> {
        let throughput = |stage: &str| -> io::Result<f64> {
            let server = Server::start(self.executable(stage)?, ["0", "--stats", "-q"])?;
            let report = load(&server, 50, Duration::from_secs(1))?;
            stop(server, false)?;
            Ok(report.messages_per_second)
        };
        let mut ratios = Vec::new();
        for _ in 0..5 {
            ratios.push(throughput(stage)? / throughput(other)?);
        }
        Ok(median(ratios))
    }

    /// How long a large prime takes, and how long 7 takes that is asked for just after it on another connection.
    pub(crate) fn two_numbers(&self, mode: &str) -> io::Result<(f64, f64)> {
        let server = Server::start(
            self.executable("isprime-server")?,
            ["0", "--stats", "-q", "--mode", mode],
        )?;
        let ask = |number: u64| -> io::Result<(TcpStream, Instant)> {
            let mut stream = TcpStream::connect(server.address())?;
            stream.set_read_timeout(Some(Duration::from_secs(120)))?;
            writeln!(stream, "{number}")?;
            Ok((stream, Instant::now()))
        };
        let (mut slow, slow_started) = ask(LARGE_PRIME)?;
        // Once the server has answered another number, or is stuck, it has the large one in hand.
        std::thread::sleep(Duration::from_millis(200));
        let (mut quick, quick_started) = ask(7)?;
        let mut answer = [0; 6];
        quick.read_exact(&mut answer)?;
        let quick_took = quick_started.elapsed().as_secs_f64();
        slow.read_exact(&mut answer)?;
        let slow_took = slow_started.elapsed().as_secs_f64();
        let _: (_, Value) = stop(server, false)?;
        Ok((slow_took, quick_took))
    }
}

/// What each of the messages that `exchange` counts costs the server, in seconds of CPU time. (See
/// [`Bench::cost_of_idle_peers`].)
fn cost_of(server: &Server, exchange: impl FnOnce() -> io::Result<u64>) -> io::Result<f64> {
    // Ten ticks are coarse, and still say more than the clock.
    let cpu_time = || server.cpu_time_of_threads().or_else(|| server.cpu_time());
    let (started, before) = (Instant::now(), cpu_time());
    let messages = exchange()?;
    let elapsed = started.elapsed();
    let used = cpu_time().zip(before).and_then(|(after, before)| after.checked_sub(before));
    let used = used.filter(|used| !used.is_zero()).unwrap_or(elapsed);
    Ok(used.as_secs_f64() / messages as f64)
}

/// So many connections send small messages for so long, as fast as they are answered.
fn load(server: &Server, connections: usize, duration: Duration) -> io::Result<load::Report> {
    let report = load::run(&load::Options {
        address: server.address(),
        connections,
        idle: 0,
        size: 64,
        duration,
        rate: None,
        timeout: Duration::from_secs(10),
    })?;
    match report.errors.first() {
        Some(error) => Err(io::Error::other(error.clone())),
        None => Ok(report),
    }
}

/// Sends messages one by one, each when the one before has been answered.
fn echo(client: &mut Client, messages: u32) -> io::Result<()> {
    Ok((0..messages).try_for_each(|_| client.echo(b"^hello$"))?)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
