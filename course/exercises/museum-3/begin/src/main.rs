//! An echo server whose kernel remembers every client. It has the standard library's listener and streams.

use std::collections::HashMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::ExitCode;

use clap::Parser;
use peer::{Buffers, Interest, Peer, on_peer_connected, on_peer_ready_recv, on_peer_ready_send};
use server::sys::{self, Syscall};
use server::{Listener, describe, shutdown};
use step6_epoll_kqueue::Poller;
use tracing::debug;

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

fn serve(bound: Listener) -> io::Result<()> {
    let listener = TcpListener::from(bound.as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
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
                while let Some(stream) = accept(&listener) {
                    last_token += 1;
                    stream.set_nonblocking(true)?;
                    // For writing: it is owed the greeting.
                    if poller.add(&stream, last_token, Interest::WRITE).is_ok() {
                        peers.insert(last_token, on_peer_connected(stream));
                    }
                }
            } else if let Some(peer) = peers.get_mut(&token) {
                let before = peer.interest();
                let interest = on_peer_ready(peer, &mut buffers);
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

/// The next peer, if one waits.
fn accept(listener: &TcpListener) -> Option<TcpStream> {
    match sys::call(Syscall::Accept, || listener.accept()) {
        Ok((stream, address)) => {
            debug!("{address} connected");
            Some(stream)
        }
        Err(error) => {
            debug!("accept: {}", describe(&error));
            None
        }
    }
}

fn on_peer_ready(peer: &mut Peer<TcpStream>, buffers: &mut Buffers) -> Interest {
    let result = match peer.interest() {
        Interest::WRITE => sys::call(Syscall::Send, || on_peer_ready_send(peer)),
        _ => sys::call(Syscall::Recv, || on_peer_ready_recv(peer, buffers)),
    };
    match result {
        Ok(interest) => interest,
        // Not now. Ready was a hint, not a promise: the kernel will tell again.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => peer.interest(),
        // Only this peer ends.
        Err(_) => Interest::NONE,
    }
}
