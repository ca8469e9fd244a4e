//! Step 6, edge-triggered: the kernel reports a descriptor when it *becomes* ready, and then no more.
//!
//! `cargo run -p step6-epoll-kqueue --example edge -- 8080`. The chapter's section on level and edge walks through what
//! differs from `src/main.rs`.

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;

use clap::Parser;
use peer::{Buffers, Interest, Peer, on_peer_connected, on_peer_ready_recv, on_peer_ready_send};
use server::{Listener, Stream, shutdown};
use step6_epoll_kqueue::Poller;

/// An echo server on the edge-triggered side of epoll and kqueue
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
    let mut poller = Poller::new()?;
    poller.add(&listener, LISTENER, Interest::READ)?;
    let mut events = Vec::new();
    let mut buffers = Buffers::new();
    let mut peers = HashMap::new();
    let mut last_token = LISTENER;
    while !shutdown::requested() {
        poller.wait(&mut events, None)?;
        for token in events.iter().map(|event| event.token) {
            if token == LISTENER {
                while let Some(stream) = listener.accept()? {
                    last_token += 1;
                    // Registered once, for both: the interest never changes.
                    let added = poller.add_edge_triggered(&stream, last_token, Interest::BOTH);
                    if let Err(error) = added {
                        listener.refused(error);
                        continue;
                    }
                    peers.insert(last_token, on_peer_connected(stream));
                }
            } else if let Some(peer) = peers.get_mut(&token) {
                let interest = on_peer_ready(peer, &mut buffers);
                if interest == Interest::NONE {
                    // Closing its last descriptor takes the socket off the kernel's list too.
                    peers.remove(&token);
                }
            }
        }
    }
    Ok(())
}

fn on_peer_ready(peer: &mut Peer<Stream>, buffers: &mut Buffers) -> Interest {
    loop {
        let result = match peer.interest() {
            Interest::WRITE => on_peer_ready_send(peer),
            _ => on_peer_ready_recv(peer, buffers),
        };
        match result {
            // There may be more. If we stop before would-block, the kernel may never report it.
            Ok(Interest::READ) => {}
            Ok(interest) => return interest,
            // Not now. From here on the kernel reports what arrives.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return peer.interest(),
            // The stream has logged why. Only this peer ends.
            Err(_) => return Interest::NONE,
        }
    }
}
