//! One connection of the load: where it is in its current exchange.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use protocol::GREETING;

use crate::Exchange;

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// When its next message is to be sent, or was.
    pub(crate) due: Instant,
    pub(crate) failed: bool,
    greeted: bool,
    /// Bytes of the message that have been sent; none if it has not been begun.
    sent: usize,
    /// Bytes of the answer that have come.
    received: usize,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            due: Instant::now(),
            failed: false,
            greeted: false,
            sent: 0,
            received: 0,
        })
    }

    /// Whether the greeting has come just now.
    pub(crate) fn greeting(&mut self) -> io::Result<bool> {
        let mut greeting = [0];
        if self.greeted {
            return Ok(false);
        }
        match self.stream.read(&mut greeting) {
            Ok(1) if greeting == [GREETING] => {
                self.greeted = true;
                Ok(true)
            }
            Ok(0) => Err(io::Error::other("the server closed a connection without a greeting")),
            Ok(_) => Err(io::Error::other("the server greeted wrongly")),
            Err(error) if is_not_yet(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a message is under way.
    pub(crate) fn is_owed(&self) -> bool {
        self.sent > 0 && !self.failed
    }

    /// Whether it has something to do, with no message begun after `end`.
    pub(crate) fn is_busy(&self, end: Instant) -> bool {
        !self.failed && (self.sent > 0 || (self.due < end && Instant::now() < end))
    }

    /// Sends and receives what it can; when the answer is complete, the time at which its message was due. None if there
    /// is nothing more to do for now.
    ///
    /// The poller is edge-triggered: only would-block may end this.
    pub(crate) fn exchange(
        &mut self,
        exchange: &Exchange,
        end: Instant,
    ) -> io::Result<Option<Instant>> {
        if self.sent == 0 {
            let now = Instant::now();
            if now < self.due || now >= end {
                return Ok(None);
            }
        }
        loop {
            let sent = self.send(&exchange.message)?;
            let received = self.receive(&exchange.answer)?;
            if self.sent == exchange.message.len() && self.received == exchange.answer.len() {
                (self.sent, self.received) = (0, 0);
                return Ok(Some(self.due));
            }
            if !sent && !received {
                return Ok(None);
            }
        }
    }

    /// Whether it has sent anything.
    fn send(&mut self, message: &[u8]) -> io::Result<bool> {
        if self.sent == message.len() {
            return Ok(false);
        }
        match self.stream.write(&message[self.sent..]) {
            Ok(length) => {
                self.sent += length;
                Ok(true)
            }
            Err(error) if is_not_yet(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether it has received anything, and that it was right.
    fn receive(&mut self, answer: &[u8]) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(io::Error::other("the server closed it")),
            Ok(length) if answer[self.received..].starts_with(&buffer[..length]) => {
                self.received += length;
                Ok(true)
            }
            Ok(_) => {
                Err(io::Error::other(format!("a wrong answer, at byte {} or later", self.received)))
            }
            Err(error) if is_not_yet(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    // A connection that is still being made has no peer yet.
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted)
}
