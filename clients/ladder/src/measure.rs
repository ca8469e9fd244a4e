//! A stage under its clients: what it did, what it cost.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{io, process, thread};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use simple_client::{Event, Report};
use subprocess::{Server, Usage};

use crate::build::abandon_build;
use crate::timeline::Timeline;
use crate::{Stage, servers};

/// The example of step 7 that has a pool.
pub(crate) const ISPRIME_SERVER: &str = "isprime-server";

/// How to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many clients, all at once.
    pub clients: usize,
    /// The most clients for a stage that serves one at a time.
    pub sequential_max: usize,
    /// What the client's pauses are multiplied by.
    pub delay: f64,
    /// Whether to let the server log, and show what it logged.
    pub verbose: bool,
    /// Whether to have the server write down what it does when.
    pub timeline: bool,
}

impl Settings {
    /// How many of the clients this stage gets.
    pub fn clients_for(&self, stage: Stage) -> usize {
        if stage.sequential { self.clients.min(self.sequential_max) } else { self.clients }
    }
}

/// What a stage did and what it cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measurement {
    /// The stage's server.
    pub stage: String,
    /// How many clients it served, at once.
    pub clients: usize,
    /// How many it was to serve; more, if it serves one at a time.
    pub clients_asked_for: usize,
    /// From the first client's start to the last one's end, in seconds.
    pub elapsed: f64,
    /// What one client's own pauses take, in seconds: no server can be faster.
    pub ideal: f64,
    /// The most threads it was seen to have. Linux only.
    pub threads: Option<u64>,
    /// Its system calls that can wait, by its own count.
    pub syscalls: u64,
    /// How many of them asked for something: accept and recv.
    pub asked: u64,
    /// How many of those found nothing: they would have blocked.
    pub found_nothing: u64,
    /// CPU time in user and kernel mode, in seconds.
    pub cpu: f64,
    /// The most memory it had resident, in bytes.
    pub peak_memory: u64,
    /// How often a thread went to sleep, until the server was told to stop. The server counts it itself, and the next
    /// too.
    pub voluntary_switches: u64,
    /// How often a thread was interrupted for another.
    pub involuntary_switches: u64,
    /// When each client was greeted, in seconds after the start, in that order.
    pub greeted: Vec<f64>,
    /// What was done when, if the server was told to write it down.
    #[serde(skip)]
    pub timeline: Option<Timeline>,
}

/// Stops it, and returns what it used and its `--stats`.
pub(crate) fn stop(server: Server, verbose: bool) -> io::Result<(Usage, Value)> {
    let finished = server.stop()?;
    if verbose {
        eprint!("{}", finished.stderr);
    }
    if !finished.status.success() {
        let last = finished.stderr.lines().last().unwrap_or_default();
        return Err(io::Error::other(format!("the server ended with {}: {last}", finished.status)));
    }
    let stats = finished.stdout.lines().last().unwrap_or_default();
    Ok((finished.usage, serde_json::from_str(stats)?))
}

/// The file that a server writes its trace to, for as long as it is measured.
pub(crate) struct Trace(pub(crate) PathBuf);

impl Trace {
    pub(crate) fn new(server: &str) -> Self {
        Trace(std::env::temp_dir().join(format!("{server}-{}.trace", process::id())))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Ends a build, kills the servers that are being measured, and removes what they have written: for a program that is told
/// to stop, and must end at once.
pub fn abandon() {
    abandon_build();
    subprocess::kill_all();
    let traced = servers().map(|stage| stage.server).chain([ISPRIME_SERVER]);
    traced.for_each(|server| drop(Trace::new(server)));
}

/// Runs the stage under its clients. `progress` is told how many of them are done.
///
/// # Errors
/// The server does not start, or does not stop, or answers wrongly: the text says which.
pub fn measure(
    executable: &PathBuf,
    stage: Stage,
    settings: &Settings,
    progress: impl Fn(usize) + Sync,
) -> io::Result<Measurement> {
    let mut arguments = vec!["0", "--stats"];
    if !settings.verbose {
        arguments.push("-q");
    }
    let trace = Trace::new(stage.server);
    let path = trace.0.to_string_lossy();
    if settings.timeline {
        arguments.extend(["--trace", &path]);
    }
    let server = Server::start(executable, &arguments)?;
    let address = server.address();
    let mut options = simple_client::Options::new(&address.ip().to_string(), address.port())?;
    options.connections = settings.clients_for(stage);
    options.delay = settings.delay;

    let done = AtomicUsize::new(0);
    let observe = |_: usize, event: Event<'_>| {
        if matches!(event, Event::Disconnecting | Event::Failed(_)) {
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    let (report, threads) = thread::scope(|scope| {
        let clients = scope.spawn(|| simple_client::run(&options, observe));
        // Nothing counts a process's threads for us, so they are looked at while it runs.
        let mut threads = None;
        while !clients.is_finished() {
            threads = threads.max(server.threads());
            thread::sleep(Duration::from_millis(10));
        }
        (clients.join(), threads)
    });
    let report = report.map_err(|_| io::Error::other("a client panicked"))?;
    let (usage, stats) = stop(server, settings.verbose)?;
    let timeline = settings.timeline.then(|| Timeline::new(&trace.0, &report));
    if !report.is_right() {
        return Err(io::Error::other(report.failures().join("; ")));
    }
    Ok(Measurement {
        stage: stage.server.to_owned(),
        clients: options.connections,
        clients_asked_for: settings.clients,
        elapsed: report.elapsed,
        ideal: options.ideal().as_secs_f64(),
        threads,
        syscalls: sum(&stats, "calls", |_| true),
        asked: sum(&stats, "calls", asks),
        found_nothing: sum(&stats, "would_block", asks),
        cpu: (usage.user + usage.system).as_secs_f64(),
        peak_memory: usage.peak_memory,
        voluntary_switches: stats["switches"]["voluntary"].as_u64().unwrap_or_default(),
        involuntary_switches: stats["switches"]["involuntary"].as_u64().unwrap_or_default(),
        greeted: greeted(&report),
        timeline: timeline.transpose()?,
    })
}

fn greeted(report: &Report) -> Vec<f64> {
    let times = report.connections.iter().filter_map(|connection| connection.greeted);
    let mut times: Vec<_> = times.collect();
    times.sort_by(f64::total_cmp);
    times
}

fn asks(call: &str) -> bool {
    matches!(call, "accept" | "recv")
}

fn sum(stats: &Value, what: &str, counts: impl Fn(&str) -> bool) -> u64 {
    let Some(calls) = stats["syscalls"].as_object() else { return 0 };
    let counted = calls.iter().filter(|(name, _)| counts(name));
    counted.filter_map(|(_, call)| call[what].as_u64()).sum()
}
