//! # Idea
//! Ask the kernel about everybody at once, and sleep until it has an answer: select.
//!
//! # What changed since step 4
//! No interval. Before each sleep the thread hands the kernel the whole list of whom it waits for; after it, it looks
//! through the whole list for those that are ready, and only those are asked.
//!
//! # What to watch
//! `cargo run --release -p load -- localhost 8080 -c 1 --idle 1000`, and again with `--idle 10`: the same work costs
//! more the more peers there are that do nothing.
//!
//! # Limits that lead to step 6
//! The list goes to the kernel and back on every call, however few of it are ready, and it ends at descriptor 1023.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;

use clap::Parser;
use nix::sys::select::{FD_SETSIZE, FdSet, select};
use peer::{Buffers, Interest, Peer, on_peer_connected, on_peer_ready_recv, on_peer_ready_send};
use server::sys::{self, Syscall};
use server::{Listener, Stream, shutdown};

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

/// The listener's token. Peers count up from it, and no token is ever used again.
const LISTENER: u64 = 0;

fn serve(mut listener: Listener) -> io::Result<()> {
    listener.set_nonblocking()?;
    if !fits_in_a_set(&listener) {
        return Err(io::Error::other("1024 descriptors were open before the listener's"));
    }
    let mut buffers = Buffers::new();
    let mut peers = HashMap::new();
    let mut last_token = LISTENER;
    while !shutdown::requested() {
        for token in wait(&listener, &peers)? {
            if token == LISTENER {
                while let Some(stream) = listener.accept()? {
                    last_token += 1;
                    if !fits_in_a_set(&stream) {
                        listener.refused(io::Error::other("no descriptor below 1024 is free"));
                        continue;
                    }
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
    // The kernel remembers nothing between two calls: it takes the sets as the question and leaves the answer in them.
    let mut readable = FdSet::new();
    let mut writable = FdSet::new();
    readable.insert(listener.as_fd());
    for peer in peers.values() {
        match peer.interest() {
            Interest::WRITE => writable.insert(peer.stream.as_fd()),
            _ => readable.insert(peer.stream.as_fd()),
        }
    }
    let call = || Ok(select(None, &mut readable, &mut writable, None, None)? as usize);
    sys::wait(Syscall::Select, call)?;
    // It says how many are ready, not which: one bit per descriptor, to be found by looking at each. (If a signal to stop has
    // interrupted it, the sets are still the question. Then each peer is asked, and each reports its end.)
    let mut ready = Vec::new();
    if readable.contains(listener.as_fd()) {
        ready.push(LISTENER);
    }
    for (&token, peer) in peers {
        let descriptor = peer.stream.as_fd();
        if readable.contains(descriptor) || writable.contains(descriptor) {
            ready.push(token);
        }
    }
    Ok(ready)
}

/// An fd_set has room for the descriptors 0 to 1023. In C a larger one is written behind its end.
fn fits_in_a_set(descriptor: &impl AsFd) -> bool {
    (descriptor.as_fd().as_raw_fd() as usize) < FD_SETSIZE
}
