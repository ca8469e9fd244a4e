//! One client of a non-blocking server.
//!
//! [`serve_connection`](../server/connection/fn.serve_connection.html) is a conversation written top to bottom: its
//! thread sleeps in recv, then in send, and *where it sleeps* is the client's state. Take the thread away and that
//! state needs a place of its own. It is a [`Peer`]: the protocol's session, and the outbox of what is still owed. The
//! conversation falls into three callbacks, cut where the thread would have slept, and each of them returns what the
//! peer waits for next, its [`Interest`]:
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! use peer::{Buffers, Interest, on_peer_connected, on_peer_ready_recv, on_peer_ready_send};
//! # let stream = std::io::Cursor::new(Vec::new());
//! let mut buffers = Buffers::new();
//! let mut peer = on_peer_connected(stream); // it is owed the greeting
//! assert_eq!(peer.interest(), Interest::WRITE);
//! assert_eq!(on_peer_ready_send(&mut peer)?, Interest::READ);
//! assert_eq!(on_peer_ready_recv(&mut peer, &mut buffers)?, Interest::NONE); // it has closed
//! # Ok(())
//! # }
//! ```
//!
//! A peer that is owed something is not read. That bounds what one peer can make the server hold: a reply is as long
//! as what one recv took, at most [`Buffers::SIZE`] bytes.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use protocol::{GREETING, Session};
use tracing::trace_span;

/// What a peer waits for: to be readable, to be writable, or nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Interest {
    pub read: bool,
    pub write: bool,
}

impl Interest {
    /// Until the peer speaks, or closes.
    pub const READ: Interest = Interest { read: true, write: false };
    /// Until the peer's socket takes more of what it is owed.
    pub const WRITE: Interest = Interest { read: false, write: true };
    /// Until either.
    pub const BOTH: Interest = Interest { read: true, write: true };
    /// Nothing: the connection is over, close it.
    pub const NONE: Interest = Interest { read: false, write: false };
}

/// What the callbacks need while they run and not in between: one per loop, so that an idle peer owns no buffer.
#[derive(Debug)]
pub struct Buffers {
    input: Box<[u8]>,
    reply: Vec<u8>,
}

impl Buffers {
    /// The most that one recv takes, and with it the most that a peer can be owed: 64 KiB.
    pub const SIZE: usize = 64 * 1024;

    /// Buffers for one loop.
    pub fn new() -> Self {
        Buffers { input: vec![0; Self::SIZE].into(), reply: Vec::with_capacity(Self::SIZE) }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

/// One client: its stream, its place in the protocol, and what it is owed.
#[derive(Debug)]
pub struct Peer<S> {
    /// The connection. Dropping the peer closes it.
    pub stream: S,
    session: Session,
    /// Bytes that the socket did not take yet. Nearly always empty, and then it owns no memory.
    outbox: Vec<u8>,
    /// How many bytes of the outbox have been sent.
    sent: usize,
}

impl<S> Peer<S> {
    /// What the peer waits for: writability if it is owed something, else readability. Never both, never neither.
    pub fn interest(&self) -> Interest {
        if self.outbox.is_empty() { Interest::READ } else { Interest::WRITE }
    }
}

/// A client has connected: it is owed the greeting.
pub fn on_peer_connected<S>(stream: S) -> Peer<S> {
    Peer { stream, session: Session::new(), outbox: vec![GREETING], sent: 0 }
}

/// The peer may have something to say: receives once and answers at once.
///
/// What the socket does not take of the answer goes to the outbox; the peer is then interested in writability, and not
/// read again before [`on_peer_ready_send`] has sent it all.
///
/// # Errors
/// [`ErrorKind::WouldBlock`] if there was nothing to receive: no end of the peer, ask again later. Any other error is
/// the end of this peer.
pub fn on_peer_ready_recv<S: Read + Write>(
    peer: &mut Peer<S>,
    buffers: &mut Buffers,
) -> io::Result<Interest> {
    let _span = trace_span!("on_peer_ready_recv").entered();
    let received = peer.stream.read(&mut buffers.input)?;
    if received == 0 {
        // The peer will send no more, and it is owed nothing: else it would not have been read.
        return Ok(Interest::NONE);
    }
    buffers.reply.clear();
    peer.session.receive(&buffers.input[..received], &mut buffers.reply);
    let sent = send(&mut peer.stream, &buffers.reply)?;
    peer.outbox.extend_from_slice(&buffers.reply[sent..]);
    Ok(peer.interest())
}

/// The peer's socket may take more: sends from where the last send stopped.
///
/// # Errors
/// Any error is the end of this peer; that the socket takes no more for now is none.
pub fn on_peer_ready_send<S: Write>(peer: &mut Peer<S>) -> io::Result<Interest> {
    let _span = trace_span!("on_peer_ready_send").entered();
    peer.sent += send(&mut peer.stream, &peer.outbox[peer.sent..])?;
    if peer.sent == peer.outbox.len() {
        peer.outbox = Vec::new();
        peer.sent = 0;
    }
    Ok(peer.interest())
}

/// Sends until the socket takes no more; how many bytes it took.
///
/// A short write is followed by another try: only would-block says that the socket is full, and an edge-triggered
/// server must have heard it, or it will never hear of this socket again.
///
/// # Errors
/// Any error but would-block is the end of this peer.
pub fn send<S: Write>(stream: &mut S, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(taken) => sent += taken,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// The server has been told to stop: goes on sending what peers are owed until nobody is owed anything any more, or
/// `expired` says that their time is up.
pub fn send_what_is_owed<'a, S: Write + 'a>(
    peers: impl IntoIterator<Item = &'a mut Peer<S>>,
    expired: impl Fn() -> bool,
) {
    let owed = peers.into_iter().filter(|peer| peer.interest().write);
    send_to_all(
        owed,
        |peer| on_peer_ready_send(peer).is_ok_and(|interest| interest.write),
        expired,
    );
}

/// The same for whoever keeps what is owed elsewhere than in a [`Peer`]: `send` sends what can be sent now, and says
/// whether anything is still owed after it.
pub fn send_to_all<'a, T: 'a>(
    receivers: impl IntoIterator<Item = &'a mut T>,
    mut send: impl FnMut(&mut T) -> bool,
    expired: impl Fn() -> bool,
) {
    let mut owed: Vec<_> = receivers.into_iter().collect();
    loop {
        owed.retain_mut(|receiver| send(receiver));
        if owed.is_empty() || expired() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}
