//! The experiments: the server in each of its modes, under the same connections.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use accept_client::Visit;
use hdrhistogram::Histogram;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, mkstemp};
use protocol::GREETING;
use serde::Serialize;
use subprocess::Server;

use crate::scoreboard::{Row, Scoreboard};
use crate::worker::Account;
use crate::{App, Mode};

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
    /// Each worker process's account of itself, by process id.
    pub workers: Vec<Account>,
    /// How many workers were in accept when all had been served. In the mode `accept` they wait there; a worker with a poller
    /// that is there is stuck.
    pub in_accept: usize,
    /// From connect to the end of the answer, in microseconds: the median.
    pub p50: u64,
    /// The time that 99 percent do not exceed.
    pub p99: u64,
}

impl Measurement {
    /// A figure of all workers together, per connection.
    pub fn per_connection(&self, figure: impl Fn(&Account) -> u64) -> f64 {
        self.workers.iter().map(figure).sum::<u64>() as f64 / self.connections as f64
    }

    /// How many connections each worker accepted, by process id; threads of one process as they were started.
    pub fn shares(&self) -> Vec<u64> {
        self.workers.iter().flat_map(|worker| worker.shares.clone()).collect()
    }

    /// How many times its fair share the busiest worker got.
    pub fn imbalance(&self) -> f64 {
        let shares = self.shares();
        let most = shares.iter().max().unwrap_or(&0);
        (most * shares.len() as u64) as f64 / self.connections as f64
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
    let (server, scoreboard) = start_with_scoreboard(server, mode, App::Pid, workers)?;
    let visits = visit(server.address(), connections, arrivals, |_| on_visit())?;
    let in_accept = settled(A_MOMENT, || scoreboard.rows(), |_| false);
    let in_accept = in_accept.into_iter().filter(|row| row.in_accept()).count();
    let accounts = accounts(server)?;

    // How many each process has served, as its clients say.
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
        in_accept,
        p50: times.value_at_quantile(0.5),
        p99: times.value_at_quantile(0.99),
    })
}

/// What happens to connections that wait while a worker does not answer, and then dies.
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
    let server = start(server, mode, App::Pid, workers, more)?;
    let spaced = ARRIVALS[0];
    // A worker that has lived for more than a second is replaced at once. The worker of the first connection is the
    // victim.
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
        let at_once =
            settled(A_WHILE, || answered.load(Ordering::Relaxed), |&all| all == connections);
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
        mode: mode.name() + if keep_listeners { ", --keep-listeners" } else { "" },
        connections,
        at_once,
        later: connections - reset - at_once,
        reset,
    })
}

/// What happens to clients that stay, in a server whose workers may fall asleep in accept.
#[derive(Clone, Debug, Serialize)]
pub struct Stay {
    /// How the workers waited.
    pub mode: String,
    /// How many workers there were.
    pub workers: usize,
    /// How many clients connected, one after the other, and were accepted, and stayed.
    pub clients: usize,
    /// How many of them connected while a worker was stuck in accept and another one slept in its poller.
    pub contested: usize,
    /// How many of these connections went to a worker that was stuck.
    pub to_stuck: usize,
    /// How many workers were stuck in accept when the last client had connected.
    pub stuck: usize,
    /// How many clients were not answered when they spoke then: exactly the clients of those workers.
    pub unanswered: usize,
    /// How many more connections had to come until they were answered.
    pub until_answered: usize,
}

/// Far more connections than were ever needed.
const MORE: usize = 10_000;

/// Lets clients come, each after a pause, until `clients` have been accepted and stay. Then all of them speak; and if some are
/// not answered, more connections come until all are.
///
/// # Errors
/// The server does not start or stop as it should; a client was not accepted; or the clients without an answer were not
/// exactly those of the workers in accept.
pub fn stay(
    server: (&Path, &[&str]),
    mode: Mode,
    workers: usize,
    clients: usize,
    pause: Duration,
) -> io::Result<Stay> {
    let (server, scoreboard) = start_with_scoreboard(server, mode, App::Echo, workers)?;
    let (mut contested, mut to_stuck) = (0, 0);
    let mut staying = Vec::new();
    for _ in 0..clients {
        let before = scoreboard.rows();
        staying.push(connect(server.address())?);
        let after = scoreboard.rows();
        let stuck = before.iter().filter(|row| row.in_accept()).count();
        if (1..workers).contains(&stuck) {
            contested += 1;
            // An accept that had begun before the client connected, and has returned with it, slept meanwhile.
            let is_taker = |(before, after): &(&Row, &Row)| after.connections > before.connections;
            let taker = before.iter().zip(&after).find(is_taker);
            to_stuck += usize::from(taker.is_some_and(|(before, _)| before.in_accept()));
        }
        thread::sleep(pause);
    }

    // No connection comes now: a worker that is in accept stays there, whatever its clients say.
    for client in &mut staying {
        client.write_all(b"^a$")?;
        client.set_nonblocking(true)?;
    }
    let in_accept = || scoreboard.rows().into_iter().enumerate().filter(|(_, row)| row.in_accept());
    listen_to(&mut staying, || in_accept().map(|(_, row)| row.connections as usize).sum())?;
    let (unanswered, stuck) = (staying.len(), in_accept().collect::<Vec<_>>());

    let (mut until_answered, mut asleep) = (0, stuck.clone());
    while !staying.is_empty() {
        if until_answered == MORE {
            return Err(io::Error::other("more connections do not wake the stuck workers"));
        }
        connect(server.address())?;
        until_answered += 1;
        thread::sleep(pause);
        // A worker whose accept has returned answers, unless it falls asleep in the next accept first.
        let now = scoreboard.rows();
        if asleep.iter().any(|&(worker, row)| now[worker] != row) {
            settled(A_MOMENT, || (hear(&mut staying).is_ok(), staying.len()), |seen| seen.1 == 0);
            asleep = in_accept().collect();
        }
        hear(&mut staying)?;
    }
    server.stop()?;
    Ok(Stay {
        mode: mode.name(),
        workers,
        clients,
        contested,
        to_stuck,
        stuck: stuck.len(),
        unanswered,
        until_answered,
    })
}

/// A client that has been accepted: it has been greeted.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut greeting = [0];
    stream.read_exact(&mut greeting)?;
    match greeting {
        [GREETING] => Ok(stream),
        other => Err(io::Error::other(format!("greeted with {}", other.escape_ascii()))),
    }
}

/// Hears the clients' answers until only `forgotten` are missing. Those must not come.
fn listen_to(clients: &mut Vec<TcpStream>, forgotten: impl Fn() -> usize) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while clients.len() > forgotten() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
        hear(clients)?;
    }
    if forgotten() > 0 {
        thread::sleep(A_WHILE);
        hear(clients)?;
    }
    if clients.len() != forgotten() {
        return Err(io::Error::other(format!(
            "{} clients are not answered; the workers that are stuck have {}",
            clients.len(),
            forgotten()
        )));
    }
    Ok(())
}

/// Removes the clients that have been answered.
fn hear(clients: &mut Vec<TcpStream>) -> io::Result<()> {
    let mut outcome = Ok(());
    clients.retain_mut(|client| match client.read(&mut [0]) {
        Ok(1) => false,
        Err(error) if error.kind() == ErrorKind::WouldBlock => true,
        ended => {
            outcome = ended.and(Err(ErrorKind::UnexpectedEof.into()));
            true
        }
    });
    outcome
}

/// If nothing happens for so long, the workers are asleep.
const A_MOMENT: Duration = Duration::from_millis(50);

/// If nothing happens for so long, the clients that are not answered yet are forgotten.
const A_WHILE: Duration = Duration::from_millis(500);

/// How long the server may take to do what it has to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks until it sees all or nothing has changed for so long; returns what it saw last.
fn settled<T: PartialEq>(
    quiet: Duration,
    mut look: impl FnMut() -> T,
    is_all: impl Fn(&T) -> bool,
) -> T {
    let (mut last, mut since) = (look(), Instant::now());
    while !is_all(&last) && since.elapsed() < quiet {
        thread::sleep(Duration::from_millis(5));
        let now = look();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

/// A server on a port of its own.
fn start(
    (program, first): (&Path, &[&str]),
    mode: Mode,
    app: App,
    workers: usize,
    more: &[&str],
) -> io::Result<Server> {
    let (mode, app, workers) = (mode.name(), app.name(), workers.to_string());
    let arguments = ["--mode", &mode, "--app", &app, "--workers", &workers];
    let fixed = ["0", "--stats", "--quiet"];
    Server::start(program, first.iter().chain(&arguments).chain(&fixed).chain(more))
}

/// The same, with the scoreboard of its workers.
fn start_with_scoreboard(
    server: (&Path, &[&str]),
    mode: Mode,
    app: App,
    workers: usize,
) -> io::Result<(Server, Scoreboard)> {
    let (file, path) = mkstemp(&std::env::temp_dir().join("scoreboard-XXXXXX"))?;
    let scoreboard = Scoreboard::new(workers, Some(&File::from(file)));
    let server = path
        .to_str()
        .ok_or_else(|| io::Error::other("the temporary folder's name is not UTF-8"))
        .and_then(|path| start(server, mode, app, workers, &["--scoreboard", path]));
    // A process that has mapped the file keeps it.
    fs::remove_file(path)?;
    Ok((server?, scoreboard?))
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
        timeout: PATIENCE,
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

/// Stops the server; returns its workers' accounts.
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
