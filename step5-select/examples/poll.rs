//! Step 5 with poll(2) instead of select: no 1,024, still the whole list.
//!
//! `cargo run -p step5-select --example poll -- 8080`. The chapter's section on poll walks through what differs from
//! `src/main.rs`.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use clap::Parser;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use peer::{Buffers, Interest, Peer, on_peer_connected, on_peer_ready_recv, on_peer_ready_send};
use server::sys::{self, Syscall};
use server::{Listener, Stream, shutdown};

/// An echo server that asks the kernel about every client: poll
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    server::run(&arguments.options, serve)
}

/// The listener's token. Peers count up from it, and no token is ever used again.
const LISTENER: u64 = 0;

fn serve(mut listener: Listener) -> io::Result<()> {
    listener.set_nonblocking()?;
    let mut buffers = Buffers::new();
    let mut peers = HashMap::new();
    let mut last_token = LISTENER;
    while !shutdown::requested() {
        for token in wait(&listener, &peers)? {
            if token == LISTENER {
                while let Some(stream) = listener.accept()? {
                    last_token += 1;
                    peers.insert(last_token, on_peer_connected(stream));
                }
            } else if let Some(peer) = peers.get_mut(&token) {
                let interest = on_peer_ready(peer, &mut buffers);
                if interest == Interest::NONE {
                    peers.remove(&token);
                }
            }
        }
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
        // Not now. Ready was a hint, not a promise: the kernel will tell again.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => peer.interest(),
        // The stream has logged why. Only this peer ends.
        Err(_) => Interest::NONE,
    }
}

/// Sleeps until a descriptor is ready; returns the tokens of all that are.
fn wait(listener: &Listener, peers: &HashMap<u64, Peer<Stream>>) -> io::Result<Vec<u64>> {
    // The kernel remembers nothing between two calls: it takes the whole list each time. An entry is a descriptor, the
    // question about it, and room for the answer.
    let mut list = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    for peer in peers.values() {
        match peer.interest() {
            Interest::WRITE => list.push(PollFd::new(peer.stream.as_fd(), PollFlags::POLLOUT)),
            _ => list.push(PollFd::new(peer.stream.as_fd(), PollFlags::POLLIN)),
        }
    }
    let call = || Ok(poll(&mut list, PollTimeout::NONE)? as usize);
    sys::wait(Syscall::Poll, call)?;
    // poll says how many are ready, not which: look at the answer in each entry. (If a signal to stop has
    // interrupted it, no entry has an answer.)
    let mut ready = Vec::new();
    if is_ready(&list[0]) {
        ready.push(LISTENER);
    }
    // The map has not changed, so this walk has the same order.
    for (&token, entry) in peers.keys().zip(&list[1..]) {
        if is_ready(entry) {
            ready.push(token);
        }
    }
    Ok(ready)
}

/// An answer is a set of flags. The kernel also reports errors and hang-ups, unasked.
fn is_ready(entry: &PollFd<'_>) -> bool {
    entry.any().unwrap_or(true)
}
