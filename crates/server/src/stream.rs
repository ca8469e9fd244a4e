//! A connected peer, as the stages have it: recv and send, and an end that no stage has to know of.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use tracing::{debug, info};

pub use crate::name::PeerName;
use crate::sys::{Syscall, call};
use crate::{context, limits, linger, shutdown, statistics};

/// A connected peer. It logs its own coming, failing and going.
///
/// It also owns its end. When the server has been told to stop (SIGINT, SIGTERM), a stream makes no more calls: [`read`]
/// reports the end of the input, so the conversation ends as it always does; [`write`] takes everything; and when the
/// stream is dropped, [`linger()`](crate::linger()) delivers what it has taken.
///
/// [`read`]: Stream::read
/// [`write`]: Stream::write
#[derive(Debug)]
pub struct Stream {
    /// Empty only while the stream is being dropped.
    socket: Option<TcpStream>,
    name: PeerName,
    /// Whether anything has been received or sent. A peer that was refused does not count as a client.
    served: bool,
    /// Whether a call has failed: the connection is over, and nothing more can be done for it.
    failed: bool,
}

impl Stream {
    pub(crate) fn new((socket, address): (TcpStream, SocketAddr)) -> Self {
        let name = PeerName::new(address);
        info!("peer {name} connected");
        statistics::count_accepted();
        linger::count_open();
        limits::heard(&socket, name);
        Stream { socket: Some(socket), name, served: false, failed: false }
    }

    /// The peer, as the log names it.
    pub fn name(&self) -> PeerName {
        self.name
    }

    /// Half-closes: the peer learns that no more will come, and may still send. See shutdown(2).
    ///
    /// # Errors
    /// The peer is gone already.
    pub fn shutdown(&self) -> io::Result<()> {
        self.socket().shutdown(Shutdown::Write)
    }

    /// Whether recv and send say "not now" instead of sleeping. An accepted connection is as its listener.
    ///
    /// # Errors
    /// What ioctl(2) reports.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket().set_nonblocking(nonblocking)
    }

    /// Whether something that was sent has not been acknowledged by the peer's kernel.
    pub fn is_on_its_way(&self) -> bool {
        linger::is_on_its_way(self.socket())
    }

    /// Half-closes, and sleeps until it is safe to close: until the peer has closed too, or it is silent and everything
    /// that was sent has arrived, or a second is over. Input is read and thrown away meanwhile, because a close with input
    /// unread is a reset, and a reset throws away what is on its way to the peer (RFC 9112, 9.6).
    pub fn close_gently(mut self) {
        if !shutdown::requested()
            && let Some(socket) = self.release()
        {
            linger::alone(socket);
            self.done();
        }
    }

    fn socket(&self) -> &TcpStream {
        self.socket.as_ref().expect("it is taken when the stream is dropped, not before")
    }

    fn release(&mut self) -> Option<TcpStream> {
        self.socket.take().inspect(limits::forget)
    }

    /// The socket, if there is any point in a call.
    fn connected(&self) -> io::Result<&TcpStream> {
        if self.failed { Err(ErrorKind::NotConnected.into()) } else { Ok(self.socket()) }
    }

    fn log(&mut self, call: Syscall, result: io::Result<usize>) -> io::Result<usize> {
        match &result {
            Ok(bytes) => {
                self.served = true;
                if *bytes > 0 {
                    limits::heard(self.socket(), self.name);
                }
                debug!("{} returned {bytes} bytes", call.name());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                debug!("{} would block", call.name());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                debug!("{} interrupted", call.name());
            }
            Err(error) => {
                self.failed = true;
                info!("peer {} failed: {}", self.name, context(error, call.name()));
            }
        }
        result
    }

    /// The socket has been closed, or left to [`linger()`](crate::linger()).
    fn done(&self) {
        info!("peer {} done", self.name);
        if self.served {
            shutdown::on_client_left();
        }
        linger::count_closed();
    }
}

/// recv(2) without flags. Once the server has been told to stop it reports the end: nothing more is received.
impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if shutdown::requested() {
            return Ok(0);
        }
        let mut socket = self.connected()?;
        debug!("Calling recv...");
        let result = call(Syscall::Recv, || socket.read(buffer));
        match self.log(Syscall::Recv, result) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            result => result,
        }
    }
}

/// send(2). std passes MSG_NOSIGNAL (and Rust's runtime ignores SIGPIPE): a peer that is gone is an EPIPE, not our end.
/// Once the server has been told to stop all bytes are taken, and [`linger()`](crate::linger()) sends them.
impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut socket = self.connected()?;
        if !shutdown::requested() {
            debug!("Calling send...");
            let result = call(Syscall::Send, || socket.write(bytes));
            match self.log(Syscall::Send, result) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
        linger::owe(self.socket(), bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket().as_raw_fd()
    }
}

/// The bare descriptor: closing it says nothing of the peer's end. For a connection that another process has as well, and
/// serves.
impl From<Stream> for OwnedFd {
    fn from(mut stream: Stream) -> Self {
        let socket = stream.release().expect("it is taken when the stream is dropped, not before");
        linger::count_closed();
        socket.into()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(socket) = self.release() else { return };
        if shutdown::requested() && !self.failed {
            linger::take_over(socket);
        } else {
            drop(socket);
        }
        self.done();
    }
}
