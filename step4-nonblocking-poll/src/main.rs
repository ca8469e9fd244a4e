//! # Idea
//! O_NONBLOCK: recv and accept may say "not now" instead of sleeping. So ask everybody, again and again.
//!
//! # What changed since step 3
//! The listener is non-blocking, and so is every socket it accepts. Would-block is an answer. Nobody is served to the
//! end any more: a sweep asks each peer once, and between sweeps the thread sleeps for `--interval`.
//!
//! # What to watch
//! The summary after `cargo run -p simple-client -- localhost 8080 -n 5` and Ctrl-C: how many calls found nothing.
//!
//! # Limits that lead to step 5
//! A short interval burns CPU on questions whose answer is no; a long one makes every client wait. The kernel knows
//! when a peer is ready.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use peer::{Buffers, Interest, Peer, on_peer_connected, on_peer_ready_recv, on_peer_ready_send};
use server::{Listener, Stream, shutdown, sys};

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,

    /// How long to sleep between two sweeps, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 200)]
    interval: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    server::run(&arguments.options, |listener| serve(listener, arguments.interval))
}

fn serve(mut listener: Listener, interval: u64) -> io::Result<()> {
    listener.set_nonblocking()?;
    let mut buffers = Buffers::new();
    let mut peers = Vec::new();
    while !shutdown::requested() {
        while let Some(stream) = listener.accept()? {
            peers.push(on_peer_connected(stream));
        }
        peers.retain_mut(|peer| on_peer_ready(peer, &mut buffers) != Interest::NONE);
        sys::sleep(Duration::from_millis(interval));
    }
    Ok(())
}

fn on_peer_ready(peer: &mut Peer<Stream>, buffers: &mut Buffers) -> Interest {
    let result = match peer.interest() {
        Interest::WRITE => on_peer_ready_send(peer),
        _ => on_peer_ready_recv(peer, buffers),
    };
    match result {
        Ok(interest) => interest,
        // Not now. That is an answer, not an error: the next sweep asks again.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => peer.interest(),
        // The stream has logged why. Only this peer ends.
        Err(_) => Interest::NONE,
    }
}
