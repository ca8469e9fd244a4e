//! The runs that are recorded for the pictures besides those of the stages.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use accesses::{Ramp, Target, ramp};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;
use subprocess::Server;

use crate::bench::LARGE_PRIME;
use crate::measure::{ISPRIME_SERVER, Trace};
use crate::picture::crowd::Crowd;
use crate::picture::two_numbers::TwoNumbers;
use crate::timeline::{Lane, Span, Timeline};
use crate::trace::lanes_during;
use crate::{machine, stop};

/// One client asks about a large prime, and a second later another one about 7.
pub(crate) fn record_two_numbers(executable: &Path) -> io::Result<TwoNumbers> {
    let (large, small) = (LARGE_PRIME, 7);
    let trace = Trace::new(ISPRIME_SERVER);
    let file = trace.0.to_string_lossy();
    let server =
        Server::start(executable, ["0", "--stats", "-q", "--mode", "pool", "--trace", &file])?;
    let address = server.address();
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    let (started, clock) = (now.tv_sec() as f64 * 1e6 + now.tv_nsec() as f64 / 1e3, Instant::now());
    let first = thread::spawn(move || ask(address, large, clock));
    thread::sleep(Duration::from_secs(1));
    let second = ask(address, small, clock)?;
    let names = thread_names(&server);
    let first = first.join().map_err(|_| io::Error::other("a client panicked"))??;
    stop(server, false)?;

    let seconds = first.to.max(second.to);
    let mut lanes = lanes_during(&trace.0, started, seconds)?;
    // A thread that has done nothing is not in the trace.
    for name in names {
        if !lanes.iter().any(|lane| lane.name == name) {
            lanes.push(Lane { name, spans: Vec::new() });
        }
    }
    lanes.sort_by(|a, b| a.name.cmp(&b.name));
    let clients = [first, second].into_iter().zip(1..);
    let clients =
        clients.map(|(span, number)| Lane { name: format!("client {number}"), spans: vec![span] });
    let timeline = Timeline { seconds, server: lanes, clients: clients.collect() };
    Ok(TwoNumbers { machine: machine(), large, small, timeline })
}

/// Asks whether a number is prime: from the question to the answer.
fn ask(address: SocketAddr, number: u64, clock: Instant) -> io::Result<Span> {
    let from = clock.elapsed().as_secs_f64();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    writeln!(stream, "{number}")?;
    let mut answer = [0; 6];
    stream.read_exact(&mut answer)?;
    let to = clock.elapsed().as_secs_f64();
    if answer != *b"prime\n" {
        return Err(io::Error::other(format!("a wrong answer about {number}")));
    }
    Ok(Span::new(&format!("is {number} prime?"), from, to))
}

/// What the threads of a server are called, except the first. Linux only: elsewhere there are no names.
fn thread_names(server: &Server) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid()));
    let others = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter(|thread| thread.file_name().to_str() != Some(&server.pid().to_string()));
    let names = others.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).collect()
}

/// The crowd of the lab's chapter: `accesses --ramp 1..30 --over 36 --after 30`, looked at four times a second.
pub(crate) fn record_crowd(executable: &Path) -> io::Result<Crowd> {
    const PAGE: u64 = 1;
    let work = format!("{PAGE}s");
    let server = Server::start(executable, ["0", "--stats", "-q", "--work", &work])?;
    let address = server.address();
    let target =
        Target::new(&address.ip().to_string(), address.port(), "/", Duration::from_secs(60));
    let crowd = Ramp {
        from: 1,
        to: 30,
        over: Duration::from_secs(36),
        every: Duration::from_millis(250),
        after: Duration::from_secs(30),
    };
    let rows = ramp(&target, &crowd, &AtomicBool::new(false), |_| {});
    if let Some(error) = rows.iter().find_map(|row| row.error.clone()) {
        return Err(io::Error::other(error));
    }
    let rows = rows.iter().filter_map(|row| {
        let pool = row.pool?;
        Some(((row.seconds * 1e3).round() / 1e3, row.users, pool.workers, pool.queue, pool.outside))
    });
    let rows = rows.collect();
    let status = status(address)?;
    let bound = |name: &str| status[name].as_u64().unwrap_or_default() as usize;
    let (max_workers, queue_capacity) = (bound("max_workers"), bound("queue_capacity"));
    stop(server, false)?;
    Ok(Crowd { machine: machine(), page: PAGE, queue_capacity, max_workers, rows })
}

/// What the web server says of its pool.
fn status(address: SocketAddr) -> io::Result<Value> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /status.json HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(serde_json::from_str(body)?)
}
