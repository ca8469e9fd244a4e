//! An echo server whose kernel remembers every client. It receives a lot at a time, and answers at once.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use clap::Parser;
use protocol::{GREETING, Session};
use server::{Listener, Stream, shutdown};
use step6_epoll_kqueue::{Interest, Poller};

/// An echo server that receives a lot at a time
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
    outbox: Vec<u8>,
    /// How much of it has been sent.
    sent: usize,
}

impl Peer {
    fn interest(&self) -> Interest {
        if self.outbox.is_empty() { Interest::READ } else { Interest::WRITE }
    }
}

fn serve(mut listener: Listener) -> io::Result<()> {
    listener.set_nonblocking()?;
    let mut poller = Poller::new()?;
    poller.add(&listener, LISTENER, Interest::READ)?;
    let mut events = Vec::new();
    let mut input = vec![0; 256 * 1024];
    let mut peers = HashMap::new();
    let mut last_token = LISTENER;
    while !shutdown::requested() {
        poller.wait(&mut events, None)?;
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
                let interest = on_peer_ready(peer, &mut input);
                // Told to watch for something else, the kernel may have no memory for it.
                let stays = interest != Interest::NONE
                    && (interest == before || poller.modify(&peer.stream, token, interest).is_ok());
                if !stays {
                    peers.remove(&token);
                }
            }
        }
    }
    Ok(())
}

fn on_peer_connected(stream: Stream) -> Peer {
    Peer { stream, session: Session::new(), outbox: vec![GREETING], sent: 0 }
}

fn on_peer_ready(peer: &mut Peer, input: &mut [u8]) -> Interest {
    let result = match peer.interest() {
        Interest::WRITE => on_peer_ready_send(peer),
        _ => on_peer_ready_recv(peer, input),
    };
    match result {
        Ok(interest) => interest,
        // Not now. Ready was a hint, not a promise: the kernel will tell again.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => peer.interest(),
        // The stream has logged why. Only this peer ends.
        Err(_) => Interest::NONE,
    }
}

/// The peer may have something to say: receives once and answers at once.
fn on_peer_ready_recv(peer: &mut Peer, input: &mut [u8]) -> io::Result<Interest> {
    let received = peer.stream.read(input)?;
    if received == 0 {
        return Ok(Interest::NONE);
    }
    peer.session.receive(&input[..received], &mut peer.outbox);
    if peer.outbox.is_empty() { Ok(Interest::READ) } else { on_peer_ready_send(peer) }
}

/// The peer's socket may take more: sends from where the last send stopped.
fn on_peer_ready_send(peer: &mut Peer) -> io::Result<Interest> {
    let owed = &peer.outbox[peer.sent..];
    let taken = peer.stream.write(owed)?;
    if taken == owed.len() {
        peer.outbox.clear();
        peer.sent = 0;
    } else {
        peer.sent = taken;
    }
    Ok(peer.interest())
}
