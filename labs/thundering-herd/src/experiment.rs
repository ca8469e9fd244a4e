//! The experiments: the server in each of its modes, under the same connections.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use accept_client::Visit;
use hdrhistogram::Histogram;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use subprocess::Server;

use crate::Mode;
use crate::worker::Account;

/// How the connections arrive.
#[derive(Clone, Copy, Debug)]
pub struct Arrivals {
    /// What the table calls it.
    pub name: &'static str,
    /// How many at a time.
    pub concurrent: usize,
    /// How long after the end of one the next begins.
    pub pause: Duration,
}

/// So far apart that every worker is asleep again when the next one comes; one right after the other; in crowds.
pub const ARRIVALS: [Arrivals; 3] = [
    Arrivals { name: "2 ms apart", concurrent: 1, pause: Duration::from_millis(2) },
    Arrivals { name: "back to back", concurrent: 1, pause: Duration::ZERO },
    Arrivals { name: "16 at a time", concurrent: 16, pause: Duration::ZERO },
];

/// What one mode cost under one kind of arrivals.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// How the workers waited.
    pub mode: String,
    /// How the connections arrived.
    pub arrivals: &'static str,
    /// How many were served, all of them exactly once.
    pub connections: u64,
    /// What each worker says that it did, by process id.
    pub workers: Vec<Account>,
    /// From connect to the end of the answer, in microseconds: the median.
    pub p50: u64,
    /// And what 99 percent do not exceed.
    pub p99: u64,
}

impl Measurement {
    /// A figure of all workers together, per connection.
    pub fn per_connection(&self, figure: impl Fn(&Account) -> u64) -> f64 {
        self.workers.iter().map(figure).sum::<u64>() as f64 / self.connections as f64
    }

    /// How many times its fair share the busiest worker got.
    pub fn imbalance(&self) -> f64 {
        let most = self.workers.iter().map(|worker| worker.connections).max().unwrap_or(0);
        (most * self.workers.len() as u64) as f64 / self.connections as f64
    }
}

/// Runs the server in `mode` under so many connections.
///
/// `server` is the program and the first of its arguments, if it needs any to be the server.
///
/// # Errors
/// The server does not start or stop as it should; or a connection was not served, or not exactly once.
pub fn measure(
    server: (&Path, &[&str]),
    mode: Mode,
    arrivals: Arrivals,
    workers: usize,
    connections: usize,
    on_visit: impl Fn() + Sync,
) -> io::Result<Measurement> {
    let server = start(server, mode, workers, &[])?;
    let visits = visit(server.address(), connections, arrivals, |_| on_visit())?;
    let accounts = accounts(server)?;

    // By the clients' account, who has served how many?
    let mut served = BTreeMap::new();
    let mut times = Histogram::<u64>::new(3).map_err(io::Error::other)?;
    for visit in &visits {
        *served.entry(who(visit)?).or_insert(0) += 1;
        times.saturating_record(visit.took.as_micros() as u64);
    }
    for account in &accounts {
        let by_clients = served.remove(&account.pid).unwrap_or(0);
        if by_clients != account.connections {
            return Err(io::Error::other(format!(
                "worker {} says that it served {} connections, its clients were {by_clients}",
                account.pid, account.connections
            )));
        }
    }
    if let Some(pid) = served.keys().next() {
        return Err(io::Error::other(format!("process {pid} served clients and is no worker")));
    }
    Ok(Measurement {
        mode: mode.name(),
        arrivals: arrivals.name,
        connections: connections as u64,
        workers: accounts,
        p50: times.value_at_quantile(0.5),
        p99: times.value_at_quantile(0.99),
    })
}

/// What becomes of connections that wait while a worker does not answer, and then dies.
#[derive(Clone, Debug, Serialize)]
pub struct Loss {
    /// How the workers waited.
    pub mode: String,
    /// How many connections came while one worker was stopped.
    pub connections: usize,
    /// How many of them were answered before it was killed.
    pub at_once: usize,
    /// How many after.
    pub later: usize,
    /// How many were reset.
    pub reset: usize,
}

/// Stops one worker (SIGSTOP), makes connections, and when no more of them are answered, kills it (SIGKILL).
///
/// # Errors
/// The server does not start or stop as it should; or a connection was neither answered nor reset.
pub fn lose(
    server: (&Path, &[&str]),
    mode: Mode,
    keep_listeners: bool,
    workers: usize,
    connections: usize,
) -> io::Result<Loss> {
    let more: &[&str] = if keep_listeners { &["--keep-listeners"] } else { &[] };
    let server = start(server, mode, workers, more)?;
    let spaced = ARRIVALS[0];
    // A worker that has lived for more than a second is replaced at once. And somebody has to be the victim.
    let first = visit(server.address(), 500, spaced, |_| {})?;
    let victim = Pid::from_raw(who(first.first().ok_or_else(|| io::Error::other("no visit"))?)?);

    kill(victim, Signal::SIGSTOP)?;
    let answered = AtomicUsize::new(0);
    let all_at_once = Arrivals { concurrent: connections, ..spaced };
    let address = server.address();
    let (at_once, visits) = thread::scope(|scope| {
        let visits = scope.spawn(|| {
            visit(address, connections, all_at_once, |visit| {
                if visit.reply.is_ok() {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let at_once = settled(&answered, connections);
        let killed = kill(victim, Signal::SIGKILL);
        let visits = visits.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        killed?;
        visits.map(|visits| (at_once, visits))
    })?;
    server.stop()?;
    let mut reset = 0;
    for visit in visits {
        match visit.reply {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => reset += 1,
            reply => drop(reply?),
        }
    }
    Ok(Loss {
        mode: mode.name() + if keep_listeners { ", listeners kept by the master" } else { "" },
        connections,
        at_once,
        later: connections - reset - at_once,
        reset,
    })
}

/// The count, once it is complete or has not changed for half a second.
fn settled(count: &AtomicUsize, complete: usize) -> usize {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let now = count.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if now == complete || since.elapsed() > Duration::from_millis(500) {
            return now;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A server whose clients are told which process serves them.
fn start(
    (program, first): (&Path, &[&str]),
    mode: Mode,
    workers: usize,
    more: &[&str],
) -> io::Result<Server> {
    let (mode, workers) = (mode.name(), workers.to_string());
    let arguments = ["--mode", &mode, "--workers", &workers];
    let fixed = ["--app", "pid", "--port", "0", "--stats", "--quiet"];
    Server::start(program, first.iter().chain(&arguments).chain(&fixed).chain(more))
}

fn visit(
    address: SocketAddr,
    count: usize,
    arrivals: Arrivals,
    on_visit: impl Fn(&Visit) + Sync,
) -> io::Result<Vec<Visit>> {
    let options = accept_client::Options {
        addresses: vec![address],
        count,
        concurrent: arrivals.concurrent,
        pause: arrivals.pause,
        timeout: Duration::from_secs(20),
    };
    accept_client::all(&options, |_| Vec::new(), on_visit)
}

/// The process that has served a connection.
fn who(visit: &Visit) -> io::Result<i32> {
    let reply = visit.reply.as_ref().map_err(|error| {
        io::Error::other(format!("connection {} was not served: {error}", visit.number))
    })?;
    let text = String::from_utf8_lossy(reply);
    text.trim()
        .parse()
        .map_err(|_| io::Error::other(format!("connection {} was answered {text:?}", visit.number)))
}

/// Stops the server; what its workers say that they did.
fn accounts(server: Server) -> io::Result<Vec<Account>> {
    let finished = server.stop()?;
    if !finished.status.success() {
        return Err(io::Error::other(format!("the server failed: {}", finished.stderr.trim())));
    }
    let mut accounts = finished
        .stdout
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect::<io::Result<Vec<Account>>>()?;
    accounts.sort_by_key(|account| account.pid);
    Ok(accounts)
}
