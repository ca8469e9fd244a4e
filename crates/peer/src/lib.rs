//! One client of a non-blocking server.
//!
//! `serve_connection` of steps 1 and 2 is a conversation written top to bottom: its thread sleeps in recv, then in send,
//! and *where it sleeps* is the client's state. Take the thread away and that state needs a place of its own. It is a
//! [`Peer`]: the protocol's session, and the outbox of what is still owed. The conversation falls into three callbacks, cut
//! where the thread would have slept, and each of them returns what the peer waits for next, its [`Interest`]:
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

use std::io::{self, Read, Write};

use protocol::{GREETING, Session};
use tracing::trace_span;

mod outbox;

pub use outbox::{Outbox, send};

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
///
/// Dropping the peer drops its stream, and closes it. What it is still owed is offered to the stream once more, as
/// std's `BufWriter` does.
#[derive(Debug)]
pub struct Peer<S: Write> {
    /// The connection.
    pub stream: S,
    session: Session,
    outbox: Outbox,
}

impl<S: Write> Peer<S> {
    /// What the peer waits for: writability if it is owed something, else readability. Always exactly one.
    pub fn interest(&self) -> Interest {
        if self.outbox.is_empty() { Interest::READ } else { Interest::WRITE }
    }
}

impl<S: Write> Drop for Peer<S> {
    fn drop(&mut self) {
        let _ = self.outbox.flush(&mut self.stream);
    }
}

/// A client has connected: it is owed the greeting.
pub fn on_peer_connected<S: Write>(stream: S) -> Peer<S> {
    Peer { stream, session: Session::new(), outbox: Outbox::new(vec![GREETING]) }
}

/// The peer may have something to say: receives once and answers at once.
///
/// The part of the answer that the socket does not take goes to the outbox. The peer then waits for writability, and is
/// not read again before [`on_peer_ready_send`] has sent it all.
///
/// # Errors
/// [`WouldBlock`](io::ErrorKind::WouldBlock) if there was nothing to receive: ask again later. Any other error is the end
/// of this peer.
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
    peer.outbox.send(&mut peer.stream, &buffers.reply)?;
    Ok(peer.interest())
}

/// The peer's socket may take more: sends from where the last send stopped.
///
/// # Errors
/// Any error is the end of this peer; a full socket is not an error.
pub fn on_peer_ready_send<S: Write>(peer: &mut Peer<S>) -> io::Result<Interest> {
    let _span = trace_span!("on_peer_ready_send").entered();
    peer.outbox.flush(&mut peer.stream)?;
    Ok(peer.interest())
}
