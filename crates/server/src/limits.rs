//! `--max-clients` and `--idle-timeout`: bounds on what hostile clients can take.
//!
//! [`Listener::accept`](crate::Listener::accept) refuses a peer when there are as many as may be. A silent peer is ended from
//! outside: one thread with one timer for all peers calls shutdown(2) on its socket. A recv or send that sleeps then
//! returns, and a poller reports the socket as ready; so the stage learns of it as of any other end of a conversation.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{Shutdown, shutdown as shut_down};
use tracing::info;

use crate::name::PeerName;
use crate::{Options, context, linger, shutdown, statistics};

static MAX_CLIENTS: OnceLock<usize> = OnceLock::new();
static IDLE_TIMEOUT: OnceLock<Duration> = OnceLock::new();

/// Puts the limits in force, for all peers to come.
///
/// # Errors
/// There is no thread for the timer.
pub(crate) fn start(options: &Options) -> io::Result<()> {
    if let Some(most) = options.max_clients {
        let _ = MAX_CLIENTS.set(most as usize);
    }
    if let Some(timeout) = options.idle_timeout {
        let timer = thread::Builder::new().name("idle-timeout".to_owned());
        timer
            .spawn(move || end_silent_peers(timeout))
            .map_err(|error| context(&error, "cannot keep --idle-timeout"))?;
        let _ = IDLE_TIMEOUT.set(timeout);
    }
    Ok(())
}

/// Why a peer that has been accepted, and counted, is one too many.
pub(crate) fn too_many() -> Option<io::Error> {
    let most = *MAX_CLIENTS.get()?;
    (linger::open() > most).then(|| io::Error::other(format!("there are {most} clients already")))
}

/// A peer, and when it last took or gave anything.
struct Heard {
    peer: PeerName,
    at: Instant,
}

/// The connected peers, by descriptor. A stream is taken off before it closes its descriptor, so each of them is open.
static PEERS: LazyLock<Mutex<HashMap<RawFd, Heard>>> = LazyLock::new(Mutex::default);

fn peers() -> MutexGuard<'static, HashMap<RawFd, Heard>> {
    PEERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes have come from the peer, or have been taken by its socket; or it has just connected.
#[inline]
pub(crate) fn heard(socket: &TcpStream, peer: PeerName) {
    if IDLE_TIMEOUT.get().is_some() {
        peers().insert(socket.as_raw_fd(), Heard { peer, at: Instant::now() });
    }
}

/// The socket is about to be closed or given away.
pub(crate) fn forget(socket: &TcpStream) {
    if IDLE_TIMEOUT.get().is_some() {
        peers().remove(&socket.as_raw_fd());
    }
}

/// The timer's thread. It looks through the list ten times per timeout at most, however many peers are due one after another: so
/// a peer is ended a tenth late, and the list costs next to nothing.
fn end_silent_peers(timeout: Duration) {
    while !shutdown::requested() {
        let now = Instant::now();
        let mut next = now + timeout;
        let mut ended = Vec::new();
        peers().retain(|&descriptor, Heard { peer, at }| {
            let due = *at + timeout;
            if due > now {
                next = next.min(due);
                return true;
            }
            let _ = shut_down(descriptor, Shutdown::Both);
            ended.push(*peer);
            false
        });
        // The list is free again: a log that cannot be written for a while holds up nobody else.
        for peer in ended {
            info!("peer {peer} was silent for {timeout:?}");
            statistics::count_timed_out();
        }
        thread::sleep((next - now).max(timeout / 10));
    }
}
