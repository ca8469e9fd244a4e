//! # Idea
//! Hand the loop over to a library. What remains is what is to happen when something has: callbacks.
//!
//! # What changed since step 6
//! The loop, the table of peers and their outboxes are gone from here: the library has them, once for all servers. A
//! client's state is what its callback has captured.
//!
//! # What to watch
//! `cargo run --release -p step7-event-loop --example isprime-server -- --mode block`, then `--mode pool`: a callback
//! that computes holds up everybody; the same work on the pool holds up nobody.
//!
//! # Limits
//! The order of things is no longer the order of lines. The labs go on from here: several processes on one listener,
//! and a pool that grows.

use std::cell::Cell;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use nix::sys::signal::Signal;
use protocol::{GREETING, Session};
use server::{Listener, shutdown};
use step7_event_loop::{ListenerId, Loop, StreamId};

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    server::run(&arguments.options, serve)
}

fn serve(listener: Listener) -> io::Result<()> {
    let mut lp = Loop::new()?;
    let failure = Rc::new(Cell::new(None));
    let noted = Rc::clone(&failure);
    let listener = lp.listen(listener, move |lp, accepted| match accepted {
        Ok(stream) => on_peer_connected(lp, stream),
        Err(error) => {
            noted.set(Some(error)); // the listener's end, and ours
            lp.stop();
        }
    })?;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        lp.signal_start(signal, move |lp, _| on_stop(lp, listener))?;
    }
    if shutdown::requested() {
        return Ok(()); // by a signal that came before they were watched
    }
    lp.run()?;
    failure.take().map_or(Ok(()), Err)
}

fn on_peer_connected(lp: &mut Loop, stream: StreamId) {
    let mut session = Session::new();
    send(lp, stream, vec![GREETING]);
    let started = lp.read_start(stream, move |lp, stream, received| match received {
        Ok([]) => lp.shutdown(stream, move |lp, _| lp.close(stream, |_| ())), // once all it is owed is sent
        Ok(bytes) => {
            let mut reply = Vec::new();
            session.receive(bytes, &mut reply);
            send(lp, stream, reply);
        }
        Err(_) => lp.close(stream, |_| ()), // the stream has logged why
    });
    if started.is_err() {
        lp.close(stream, |_| ());
    }
}

/// What the socket takes goes at once; only what it does not take is queued, and called back for.
fn send(lp: &mut Loop, stream: StreamId, mut bytes: Vec<u8>) {
    match lp.try_write(stream, &bytes) {
        Ok(sent) if sent == bytes.len() => {}
        Ok(sent) => {
            bytes.drain(..sent);
            lp.write(stream, bytes, move |lp, result| {
                if result.is_err() {
                    lp.close(stream, |_| ());
                }
            });
        }
        Err(_) => lp.close(stream, |_| ()),
    }
}

/// No more clients; those who are owed something have a second to fetch it.
fn on_stop(lp: &mut Loop, listener: ListenerId) {
    lp.close_listener(listener);
    for stream in lp.streams() {
        if lp.owed(stream) == 0 && !lp.has_input(stream) {
            lp.close(stream, stop_after_the_last);
        } else {
            let _ = lp.read_stop(stream);
            lp.shutdown(stream, move |lp, _| discard_input(lp, stream)); // once all it is owed is sent
        }
    }
    lp.timer_start(Duration::from_secs(1), None, |lp, _| lp.stop());
    stop_after_the_last(lp);
}

/// To close with input unread would reset the connection, and with it what is on its way to the peer.
fn discard_input(lp: &mut Loop, stream: StreamId) {
    let discarding = lp.read_start(stream, |lp, stream, received| {
        if !matches!(received, Ok([_, ..])) {
            lp.close(stream, stop_after_the_last);
        }
    });
    if discarding.is_err() {
        lp.close(stream, stop_after_the_last);
    }
}

/// The watched signals would keep the loop alive for ever.
fn stop_after_the_last(lp: &mut Loop) {
    if lp.streams().is_empty() {
        lp.stop();
    }
}
