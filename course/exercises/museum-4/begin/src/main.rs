//! An echo server with a fixed number of places. When all are taken, a new client gets the place of the one that has been
//! silent for longest.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use peer::{Buffers, Interest, Peer, on_peer_connected, on_peer_ready_recv, on_peer_ready_send};
use server::sys::{self, Syscall};
use server::{Listener, Stream, shutdown};

/// An echo server with a fixed number of places
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,

    /// How many clients there are at the most: the next one gets the place of the one that has been silent for longest
    #[arg(long, value_name = "N", default_value_t = 1000)]
    places: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    server::run(&arguments.options, |listener| serve(listener, arguments.places))
}

/// A peer, and when it was last ready.
struct Place {
    peer: Peer<Stream>,
    heard: Instant,
}

fn serve(mut listener: Listener, places: usize) -> io::Result<()> {
    listener.set_nonblocking()?;
    let mut buffers = Buffers::new();
    let mut peers = HashMap::new();
    while !shutdown::requested() {
        for (descriptor, flags) in wait(&listener, &peers)? {
            if descriptor == listener.as_raw_fd() {
                if peers.len() >= places {
                    end_most_silent(&mut peers);
                }
                if let Some(stream) = listener.accept()? {
                    let descriptor = stream.as_raw_fd();
                    let peer = on_peer_connected(stream);
                    peers.insert(descriptor, Place { peer, heard: Instant::now() });
                }
            } else if flags.contains(PollFlags::POLLERR) {
                // It has reset the connection.
                peers.remove(&descriptor);
            } else if let Some(place) = peers.get_mut(&descriptor) {
                place.heard = Instant::now();
                let interest = on_peer_ready(&mut place.peer, &mut buffers);
                if interest == Interest::NONE {
                    peers.remove(&descriptor);
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

fn end_most_silent(peers: &mut HashMap<RawFd, Place>) {
    let most_silent = peers.iter().min_by_key(|(_, place)| place.heard);
    if let Some((&descriptor, _)) = most_silent {
        peers.remove(&descriptor);
    }
}

/// Sleeps until a descriptor is ready; returns all that are, the listener first, and what each is ready for.
fn wait(listener: &Listener, peers: &HashMap<RawFd, Place>) -> io::Result<Vec<(RawFd, PollFlags)>> {
    let mut list = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    for place in peers.values() {
        match place.peer.interest() {
            Interest::WRITE => {
                list.push(PollFd::new(place.peer.stream.as_fd(), PollFlags::POLLOUT));
            }
            _ => list.push(PollFd::new(place.peer.stream.as_fd(), PollFlags::POLLIN)),
        }
    }
    let call = || Ok(poll(&mut list, PollTimeout::NONE)? as usize);
    sys::wait(Syscall::Poll, call)?;
    let mut ready = Vec::new();
    for entry in &list {
        let flags = entry.revents().unwrap_or(PollFlags::POLLIN);
        if !flags.is_empty() {
            ready.push((entry.as_fd().as_raw_fd(), flags));
        }
    }
    Ok(ready)
}
