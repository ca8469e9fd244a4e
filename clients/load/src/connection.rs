//! One connection of the load: where it is in its current exchange.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use nix::sys::socket::{setsockopt, sockopt};
use protocol::GREETING;

use crate::{Exchange, Limits};

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// When its next message is to be sent, or was.
    pub(crate) due: Instant,
    pub(crate) failed: bool,
    greeted: bool,
    /// Whether a message is under way.
    begun: bool,
    /// Bytes of it that have been sent.
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
            begun: false,
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

    /// Is greeted and has one message answered, as far as it goes now; whether both are done.
    pub(crate) fn visit(&mut self, exchange: &Exchange, limits: &mut Limits) -> io::Result<bool> {
        if !self.greeted && !self.greeting()? {
            return Ok(false);
        }
        Ok(self.exchange(exchange, limits)?.is_some())
    }

    /// Nothing has come, as is right while no message is under way.
    pub(crate) fn silence(&mut self) -> io::Result<()> {
        match self.stream.read(&mut [0]) {
            Ok(0) => Err(io::Error::other("the server closed it")),
            Ok(_) => Err(io::Error::other("an answer to no message")),
            Err(error) if is_not_yet(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Closes with an RST: a linger time of zero (socket(7)). All that was owed has come, so nothing is lost by it.
    pub(crate) fn reset(self) {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        // It fails where the server has closed already (macOS): that is a close as well.
        let _ = setsockopt(&self.stream, sockopt::Linger, &linger);
    }

    /// Whether a message is under way.
    pub(crate) fn is_owed(&self) -> bool {
        self.begun && !self.failed
    }

    /// Whether it has something to do, now or later.
    pub(crate) fn is_busy(&self, limits: &Limits) -> bool {
        !self.failed && (self.begun || limits.allow(self.due))
    }

    /// Sends and receives what it can; when the answer is complete, the time at which its message was due. None if there
    /// is nothing more to do for now.
    ///
    /// The poller is edge-triggered: only would-block may end this.
    pub(crate) fn exchange(
        &mut self,
        exchange: &Exchange,
        limits: &mut Limits,
    ) -> io::Result<Option<Instant>> {
        if !self.begun {
            if Instant::now() < self.due || !limits.allow(self.due) {
                return Ok(None);
            }
            limits.messages -= 1;
            self.begun = true;
            // Sent whole, it cannot have been answered yet, and its answer will be an event of its own: a recv now would be
            // a third call for each message, in vain.
            self.send(&exchange.message)?;
            if self.sent == exchange.message.len() {
                return Ok(None);
            }
        }
        loop {
            let sent = self.send(&exchange.message)?;
            let received = self.receive(&exchange.answer)?;
            if self.sent == exchange.message.len() && self.received == exchange.answer.len() {
                (self.begun, self.sent, self.received) = (false, 0, 0);
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
