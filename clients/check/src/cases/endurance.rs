//! The server goes on: it does not grow, does not spin, and does not die of what happens to every process.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, send};
use subprocess::Server;

use crate::client::{Client, Failure, Outcome, ensure, wait_until};
use crate::process::is_crash;
use crate::{Case, Promise, Subject, Target};

use super::isolation::send_without_reading;

pub(super) const CASES: &[Case] = &[
    case("idle", "with a silent peer and nothing to do it uses no CPU time to speak of", idle),
    case(
        "urgent-byte",
        "an urgent byte from a peer does not keep the CPU busy either",
        urgent_byte,
    ),
    case(
        "2000-connections",
        "2,000 connections in a row: each is served at once, and the server has not grown by 1 MiB",
        two_thousand,
    ),
    case("broken-pipe", "a peer is gone before its answer is sent: no SIGPIPE", broken_pipe),
    needs_process("stopped", "SIGSTOP and SIGCONT, as from a shell, interrupt nobody", stopped),
    needs_process("output-closed", "nobody reads its standard output any more", output_closed),
    needs_process("no-zombies", "of 20 connections no dead process is left behind", no_zombies),
    needs_process("no-panic", "rude peers leave no panic and no traceback in the log", no_panic),
];

const fn case(name: &'static str, about: &'static str, run: fn(&Target) -> Outcome) -> Case {
    Case { name, promise: Promise::Endurance, about, needs_process: false, obstacle: || None, run }
}

const fn needs_process(
    name: &'static str,
    about: &'static str,
    run: fn(&Target) -> Outcome,
) -> Case {
    Case { needs_process: true, ..case(name, about, run) }
}

fn idle(target: &Target) -> Outcome {
    let server = target.server()?;
    Client::greeted(server.address)?.echo(b"^hello$")?;
    let mut silent = Client::greeted(server.address)?;
    rests(&server)?;
    silent.echo(b"^hello$")
}

fn urgent_byte(target: &Target) -> Outcome {
    let server = target.server()?;
    let mut client = Client::greeted(server.address)?;
    client.echo(b"^hello$")?;
    // The server may find it in the stream or beside it (SO_OOBINLINE). Outside of a message it is ignored in both.
    send(client.stream.as_raw_fd(), b"!", MsgFlags::MSG_OOB)?;
    rests(&server)?;
    client.echo(b"^hello$")
}

/// It leaves the CPU alone. A server that asks its peers hundreds of times a second may, and takes a hundredth of a core;
/// one that spins has a whole one, or its share on a busy machine.
fn rests(server: &Subject) -> Outcome {
    const LOOK: Duration = Duration::from_millis(500);
    let used = || server.process.as_ref().and_then(|process| process.cpu_time());
    thread::sleep(Duration::from_millis(50)); // the end of what was asked of it before
    let Some(before) = used() else { return Ok(()) };
    let started = Instant::now();
    thread::sleep(LOOK);
    let (used, passed) = (used().unwrap_or_default().saturating_sub(before), started.elapsed());
    ensure(used < passed / 10, || format!("{used:?} of CPU time in {passed:.1?} without any work"))
}

fn two_thousand(target: &Target) -> Outcome {
    const WARM: usize = 300;
    const NUMBER: usize = 2_000;
    /// Between what an allocator keeps and what a leak of 1 KiB for each connection makes.
    const GROWTH: u64 = 1024 * 1024;
    let server = target.server()?;
    let memory = || server.process.as_ref().and_then(|process| process.resident_memory());
    let started = Instant::now();
    let mut quickest = Duration::MAX;
    for served in 0..5 {
        let began = Instant::now();
        one_connection_each(&server, 1, served, started)?;
        quickest = quickest.min(began.elapsed());
    }
    // A server that polls answers once in each of its intervals: it gets as many at a time as the shortest backlog holds.
    let at_a_time = if quickest < Duration::from_millis(3) { 1 } else { 4 };
    let mut served = 5;
    let mut before = None;
    while served < WARM + NUMBER {
        if served >= WARM && before.is_none() {
            before = memory();
        }
        one_connection_each(&server, at_a_time, served, started)?;
        served += at_a_time;
    }
    let (Some(before), Some(after)) = (before, memory()) else { return Ok(()) };
    let grown = after.saturating_sub(before);
    ensure(grown < GROWTH, || format!("it has grown by {grown} bytes in {NUMBER} connections"))
}

/// So many more peers, each with a short message, one after another: a sequential server serves them, too.
fn one_connection_each(
    server: &Subject,
    number: usize,
    served: usize,
    started: Instant,
) -> Outcome {
    /// A server takes tens of microseconds for an accept. One that takes fewer than 50 a second sleeps between them.
    const SLOW: u32 = 50;
    let which = |Failure(text)| Failure(format!("after {served} connections: {text}"));
    let peers: Result<Vec<_>, Failure> = (0..number)
        .map(|_| {
            let mut client = Client::connect(server.address)?;
            client.send(b"^hello$")?;
            client.half_close()?;
            Ok(client)
        })
        .collect();
    for mut client in peers.map_err(which)? {
        client.expect(b"*ifmmp").and_then(|()| client.expect_end(false)).map_err(which)?;
    }
    let (served, passed) = ((served + number) as f64, started.elapsed());
    ensure(passed < Duration::from_secs(2) || served / passed.as_secs_f64() > SLOW.into(), || {
        format!("only {:.0} connections a second", served / passed.as_secs_f64())
    })
}

/// A peer sends FIN and then RST. What is sent to it after that is a broken pipe: EPIPE, and SIGPIPE, whose default action
/// ends the process. A stopped server finds all of it at once; where we cannot stop it, one of many is so fast.
fn broken_pipe(target: &Target) -> Outcome {
    let server = target.server()?;
    let (rounds, process) = match &server.process {
        Some(process) => (5, Some(process)),
        None => (50, None),
    };
    for _ in 0..rounds {
        let mut peer = Client::greeted(server.address)?;
        peer.echo(b"^open")?;
        process.map_or(Ok(()), |process| process.signal(Signal::SIGSTOP))?;
        for _ in 0..2 {
            peer.send(b"message")?; // two, for a server that answers each
        }
        peer.half_close()?;
        peer.reset()?;
        process.map_or(Ok(()), |process| process.signal(Signal::SIGCONT))?;
        // Where the server takes less than it is given, it is in the middle of its answer.
        let mut peer = Client::greeted(server.address)?;
        peer.send(b"^")?;
        peer.send(&[b'a'; 100_000])?;
        peer.half_close()?;
        peer.reset()?;
    }
    Client::greeted(server.address)?.echo(b"^still here$")
}

/// Ctrl-Z and `fg`, a debugger, a container that is frozen. Some calls return EINTR then, even without any handler:
/// epoll_wait, and recv and accept with a time limit (signal(7)).
fn stopped(target: &Target) -> Outcome {
    let server = target.start(&[])?;
    let blink = || {
        thread::sleep(Duration::from_millis(20)); // until it waits
        server.signal(Signal::SIGSTOP)?;
        thread::sleep(Duration::from_millis(5));
        server.signal(Signal::SIGCONT)
    };
    blink()?;
    let mut client = Client::greeted(server.address())?;
    for _ in 0..3 {
        blink()?;
        client.echo(b"^hello$")?;
    }
    drop(client);
    blink()?;
    Client::greeted(server.address())?.echo(b"^hello$")
}

/// `server | head -1`: what it prints from then on is a broken pipe.
fn output_closed(target: &Target) -> Outcome {
    let server = target.start_unread()?;
    for _ in 0..3 {
        let mut client = Client::greeted(server.address())?;
        client.echo(b"^hello$")?;
        client.half_close()?;
        client.expect_end(false)?;
    }
    Ok(())
}

fn no_zombies(target: &Target) -> Outcome {
    /// A server that reaps the dead when the next peer comes has some at any time.
    const SOME: usize = 5;
    let server = target.start(&[])?;
    for _ in 0..20 {
        let mut client = Client::greeted(server.address())?;
        client.echo(b"^hello$")?;
        client.half_close()?;
        client.expect_end(false)?;
    }
    let mut count = 0;
    wait_until("the dead children are reaped", || {
        count = zombies(&server).unwrap_or_default();
        count <= SOME
    })
    .map_err(|Failure(text)| Failure(format!("{count} zombies: {text}")))
}

/// How many of its children have ended and were not asked for. Linux only.
fn zombies(server: &Server) -> io::Result<usize> {
    let mut count = 0;
    // A thread's children are its own.
    for thread in fs::read_dir(format!("/proc/{}/task", server.pid()))? {
        let children = fs::read_to_string(thread?.path().join("children"))?;
        let is_dead = |child: &&str| {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('Z'))
        };
        count += children.split_whitespace().filter(is_dead).count();
    }
    Ok(count)
}

/// A thread may die of a panic, and its peer is served no worse: the peer was gone. Only the log shows it.
fn no_panic(target: &Target) -> Outcome {
    let server = target.start(&[])?;
    for _ in 0..3 {
        let mut peer = Client::greeted(server.address())?;
        peer.echo(b"^half a mess")?;
        peer.reset()?;
        let mut peer = Client::greeted(server.address())?;
        peer.send(b"^message")?;
        peer.half_close()?;
        peer.reset()?;
        Client::connect(server.address())?.reset()?;
    }
    let mut peer = Client::greeted(server.address())?;
    send_without_reading(&mut peer, 4 * 1024 * 1024)?;
    peer.reset()?;
    // It has come to this one when it has done with the others, or soon after.
    Client::greeted(server.address())?.echo(b"^hello$")?;
    thread::sleep(Duration::from_millis(50));
    let finished = server.stop()?;
    let sign = finished.stderr.lines().find(|line| is_crash(line));
    ensure(sign.is_none(), || format!("its log has: {}", sign.unwrap_or_default().trim()))
}
