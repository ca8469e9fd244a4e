//! What a peer is owed: bytes that its socket has not taken yet.

use std::io::{self, ErrorKind, Write};

/// Bytes that are to be sent to a peer. Nearly always empty, and then it owns no memory.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// How many of them have been sent.
    sent: usize,
}

impl Outbox {
    /// An outbox with these bytes in it.
    pub fn new(bytes: Vec<u8>) -> Self {
        Outbox { bytes, sent: 0 }
    }

    /// How many bytes are still to be sent.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether everything has been sent.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() // they go when the last has been sent
    }

    /// Sends `bytes`, and keeps what the socket does not take. If earlier bytes still wait, these wait behind them.
    ///
    /// # Errors
    /// Any error is the end of this peer; a full socket is not an error.
    pub fn send(&mut self, stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        let sent = if self.is_empty() { send(stream, bytes)? } else { 0 };
        self.bytes.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Sends what waits, from where the last send stopped.
    ///
    /// # Errors
    /// As [`Outbox::send`].
    pub fn flush(&mut self, stream: &mut impl Write) -> io::Result<()> {
        self.sent += send(stream, &self.bytes[self.sent..])?;
        if self.sent == self.bytes.len() {
            *self = Outbox::default();
        }
        Ok(())
    }
}

/// Sends until the socket takes no more; returns how many bytes it took.
///
/// A short write is followed by another try: only would-block says that the socket is full. An edge-triggered server
/// that stops before would-block may never be told of this socket again.
///
/// # Errors
/// Any error but would-block is the end of this peer.
pub fn send(stream: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
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
