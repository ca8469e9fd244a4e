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
//! The order of things is no longer the order of lines. The labs go on from here: `async` and `.await`, which bring the
//! lines back; several processes on one listener; a pool that grows.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use nix::sys::signal::Signal;
use protocol::{GREETING, Session};
use server::{Listener, shutdown};
use step7_event_loop::{Loop, StreamId};

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
    let listener = lp.listen(listener, on_peer_connected)?;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        lp.signal_start(signal, move |lp, _, _| {
            lp.close_listener_gently(listener, shutdown::GRACE, |lp, _| lp.stop());
        })?;
    }
    lp.run(&mut ())
}

fn on_peer_connected(lp: &mut Loop<()>, _: &mut (), stream: StreamId) {
    lp.write(stream, &[GREETING]);
    let mut session = Session::new();
    lp.read_start(stream, move |lp, _, stream, received| match received {
        Ok(bytes @ [_, ..]) => {
            let mut reply = Vec::new();
            session.receive(bytes, &mut reply);
            lp.write(stream, &reply);
        }
        // The end, or an error that the stream has logged.
        _ => lp.close_gently(stream),
    });
}
