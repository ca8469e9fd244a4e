//! An echo server on the edge-triggered side of epoll and kqueue: each peer is registered once, for reading and writing.

use std::collections::HashMap;
use std::io::{self, Read};
use std::process::ExitCode;

use clap::Parser;
use peer::Outbox;
use protocol::{GREETING, Session};
use server::{Listener, Stream, shutdown};
use step6_epoll_kqueue::{Interest, Poller};

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

struct Peer {
    stream: Stream,
    session: Session,
    /// What the peer is owed.
    outbox: Outbox,
}

fn serve(mut listener: Listener) -> io::Result<()> {
    listener.set_nonblocking()?;
    let mut poller = Poller::new()?;
    poller.add(&listener, LISTENER, Interest::READ)?;
    let mut events = Vec::new();
    let mut input = vec![0; 4 * 1024];
    let mut peers = HashMap::new();
    let mut last_token = LISTENER;
    while !shutdown::requested() {
        poller.wait(&mut events, None)?;
        for token in events.iter().map(|event| event.token) {
            if token == LISTENER {
                while let Some(stream) = listener.accept()? {
                    last_token += 1;
                    let added = poller.add_edge_triggered(&stream, last_token, Interest::BOTH);
                    if let Err(error) = added {
                        listener.refused(error);
                        continue;
                    }
                    peers.insert(last_token, on_peer_connected(stream));
                }
            } else if let Some(peer) = peers.get_mut(&token) {
                let stays = match on_peer_ready(peer, &mut input) {
                    Ok(stays) => stays,
                    // The stream has logged why. Only this peer ends.
                    Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                };
                if !stays {
                    peers.remove(&token);
                }
            }
        }
    }
    Ok(())
}

fn on_peer_connected(stream: Stream) -> Peer {
    Peer { stream, session: Session::new(), outbox: Outbox::new(vec![GREETING]) }
}

/// Sends what the peer is owed, and if that is all, receives and answers. Returns whether the peer stays.
fn on_peer_ready(peer: &mut Peer, input: &mut [u8]) -> io::Result<bool> {
    peer.outbox.flush(&mut peer.stream)?;
    if peer.outbox.is_empty() {
        let received = peer.stream.read(input)?;
        if received == 0 {
            return Ok(false);
        }
        let mut reply = Vec::new();
        peer.session.receive(&input[..received], &mut reply);
        peer.outbox.send(&mut peer.stream, &reply)?;
    }
    Ok(true)
}
