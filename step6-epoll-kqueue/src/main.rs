//! # Idea
//! Register each peer once; the kernel remembers whom we wait for and returns only those that are ready: epoll, kqueue.
//!
//! # What changed since step 5
//! The sets and both loops over everybody are gone. The kernel is told when a peer comes, and when what it waits for
//! changes. Everything else follows from that.
//!
//! # What to watch
//! `cargo run --release -p load -- localhost 8080 -c 1 --idle 10000`: as fast as with `--idle 10`.
//!
//! # Limits that lead to step 7
//! One thread answers everybody, so a callback that takes a second takes it from everybody.

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;

use clap::Parser;
use peer::{Buffers, Interest, Peer, on_peer_connected, on_peer_ready_recv, on_peer_ready_send};
use server::{Listener, Stream, shutdown};
use step6_epoll_kqueue::Poller;

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
    let mut poller = Poller::new()?;
    poller.add(&listener, LISTENER, Interest::READ)?;
    let mut events = Vec::new();
    let mut buffers = Buffers::new();
    let mut peers = HashMap::new();
    let mut last_token = LISTENER;
    while !shutdown::requested() {
        poller.wait(&mut events, None)?;
        // What each is ready for need not be asked: it is what it waits for.
        for token in events.iter().map(|event| event.token) {
            if token == LISTENER {
                while let Some(stream) = listener.accept()? {
                    last_token += 1;
                    // For writing: it is owed the greeting.
                    if let Err(error) = poller.add(&stream, last_token, Interest::WRITE) {
                        listener.refused(error);
                        continue;
                    }
                    peers.insert(last_token, on_peer_connected(stream));
                }
            } else if let Some(peer) = peers.get_mut(&token) {
                let before = peer.interest();
                let interest = on_peer_ready(peer, &mut buffers);
                if interest == Interest::NONE {
                    // Closing its last descriptor takes the socket off the kernel's list too.
                    peers.remove(&token);
                } else if interest != before
                    && poller.modify(&peer.stream, token, interest).is_err()
                {
                    // The kernel would never report it again.
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
