//! An echo server whose kernel remembers every client. An answer is sent at once; what the socket does not take waits in
//! the peer's outbox.

use std::collections::HashMap;
use std::io::{self, Read};
use std::process::ExitCode;

use clap::Parser;
use peer::Outbox;
use protocol::{GREETING, Session};
use server::{Listener, Stream, shutdown};
use step6_epoll_kqueue::{Event, Interest, Poller};

/// An echo server whose kernel remembers every client
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
    /// Whether the socket is too slow for its answers.
    slow: bool,
}

impl Peer {
    fn interest(&self) -> Interest {
        Interest { read: self.outbox.is_empty(), write: self.slow }
    }
}

fn serve(mut listener: Listener) -> io::Result<()> {
    listener.set_nonblocking()?;
    let mut poller = Poller::new()?;
    poller.add(&listener, LISTENER, Interest::READ)?;
    let mut events = Vec::new();
    let mut input = vec![0; 64 * 1024];
    let mut peers = HashMap::new();
    let mut last_token = LISTENER;
    while !shutdown::requested() {
        poller.wait(&mut events, None)?;
        for event in &events {
            if event.token == LISTENER {
                while let Some(stream) = listener.accept()? {
                    let Ok(peer) = on_peer_connected(stream) else { continue };
                    last_token += 1;
                    if let Err(error) = poller.add(&peer.stream, last_token, peer.interest()) {
                        listener.refused(error);
                        continue;
                    }
                    peers.insert(last_token, peer);
                }
            } else if let Some(peer) = peers.get_mut(&event.token) {
                let before = peer.interest();
                let stays = match on_peer_ready(peer, event, &mut input) {
                    Ok(stays) => stays,
                    // The stream has logged why. Only this peer ends.
                    Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                };
                let now = peer.interest();
                if !stays || now != before && poller.modify(&peer.stream, event.token, now).is_err()
                {
                    peers.remove(&event.token);
                }
            }
        }
    }
    Ok(())
}

fn on_peer_connected(stream: Stream) -> io::Result<Peer> {
    let (session, outbox) = (Session::new(), Outbox::default());
    let mut peer = Peer { stream, session, outbox, slow: false };
    send(&mut peer, &[GREETING])?;
    Ok(peer)
}

/// Does what the peer is ready for. Returns whether it stays.
fn on_peer_ready(peer: &mut Peer, event: &Event, input: &mut [u8]) -> io::Result<bool> {
    if event.writable {
        peer.outbox.flush(&mut peer.stream)?;
    }
    if event.readable && peer.outbox.is_empty() {
        let received = peer.stream.read(input)?;
        if received == 0 {
            return Ok(false);
        }
        let mut reply = Vec::new();
        peer.session.receive(&input[..received], &mut reply);
        send(peer, &reply)?;
    }
    Ok(true)
}

fn send(peer: &mut Peer, bytes: &[u8]) -> io::Result<()> {
    peer.outbox.send(&mut peer.stream, bytes)?;
    if !peer.outbox.is_empty() {
        peer.slow = true;
    }
    Ok(())
}
