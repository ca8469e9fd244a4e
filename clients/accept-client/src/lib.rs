//! One connection, one message: connect, say it, half-close, and read what comes back until the server closes.
//!
//! A visit knows that it was served when the server closes in good order: a connection that was not accepted before its
//! listener was closed ends with a reset instead (RFC 9293, 3.10.7).
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The most that a server may say to one message: a server may never stop.
const REPLY: u64 = 1 << 20;

/// Which server to visit, how often, and how fast.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's addresses. Each visit takes the first that a server listens on.
    pub addresses: Vec<SocketAddr>,
    /// How many connections in all.
    pub count: usize,
    /// How many of them at a time.
    pub concurrent: usize,
    /// How long to wait after each before the next.
    pub pause: Duration,
    /// How long the server may be silent.
    pub timeout: Duration,
}

/// One connection, from its beginning to its end.
#[derive(Debug)]
pub struct Visit {
    /// Which one, from 1.
    pub number: usize,
    /// What the server said, or what went wrong.
    pub reply: io::Result<Vec<u8>>,
    /// How long it took, from connect to the server's end of the connection.
    pub took: Duration,
}

/// Makes all the visits. Each says `message(number)`. Each that has ended is passed to `on_visit`.
///
/// With an empty message nothing is sent: the connection is not half-closed, and the server speaks first.
///
/// # Errors
/// A thread cannot be started; the others then make no more visits.
pub fn run(
    options: &Options,
    message: impl Fn(usize) -> Vec<u8> + Sync,
    on_visit: impl Fn(Visit) + Sync,
) -> io::Result<()> {
    let next = AtomicUsize::new(1);
    let one_after_another = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number > options.count {
                return;
            }
            let started = Instant::now();
            let reply = visit(options, &message(number));
            on_visit(Visit { number, reply, took: started.elapsed() });
            thread::sleep(options.pause);
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.concurrent.min(options.count) {
            let spawned = thread::Builder::new().spawn_scoped(scope, one_after_another);
            if let Err(no_thread) = spawned {
                next.fetch_max(options.count + 1, Ordering::Relaxed);
                return Err(no_thread);
            }
        }
        Ok(())
    })
}

/// As [`run`]; returns all visits, in the order of their numbers.
///
/// # Errors
/// As those of [`run`].
pub fn all(
    options: &Options,
    message: impl Fn(usize) -> Vec<u8> + Sync,
    on_visit: impl Fn(&Visit) + Sync,
) -> io::Result<Vec<Visit>> {
    let visits = Mutex::new(Vec::new());
    run(options, message, |visit| {
        on_visit(&visit);
        visits.lock().unwrap_or_else(PoisonError::into_inner).push(visit);
    })?;
    let mut visits = visits.into_inner().unwrap_or_else(PoisonError::into_inner);
    visits.sort_by_key(|visit| visit.number);
    Ok(visits)
}

fn visit(options: &Options, message: &[u8]) -> io::Result<Vec<u8>> {
    let timeout = options.timeout;
    let mut connected = Err(io::Error::other("the server has no address"));
    for address in &options.addresses {
        connected = TcpStream::connect_timeout(address, timeout);
        if connected.is_ok() {
            break;
        }
    }
    let mut stream = connected?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    if !message.is_empty() {
        stream.write_all(message)?;
        stream.shutdown(Shutdown::Write)?;
    }
    let mut reply = Vec::new();
    match stream.take(REPLY + 1).read_to_end(&mut reply) {
        Ok(_) if reply.len() as u64 > REPLY => {
            Err(io::Error::other(format!("the server says more than {REPLY} bytes")))
        }
        Ok(_) => Ok(reply),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
        {
            let mut text = format!("no end within {timeout:?}");
            if !reply.is_empty() {
                let (count, s) = (reply.len(), if reply.len() == 1 { "" } else { "s" });
                text += &format!(", after {count} byte{s}: {}", beginning(&reply));
            }
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
        Err(error) => Err(error),
    }
}

/// The beginning of what a server has said, in a form that can be printed.
fn beginning(reply: &[u8]) -> String {
    match reply.split_at_checked(40) {
        Some((first, _)) => format!("\"{}\"...", first.escape_ascii()),
        None => format!("\"{}\"", reply.escape_ascii()),
    }
}
