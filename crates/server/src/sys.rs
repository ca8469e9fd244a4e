//! The system calls that can wait: one call each, counted, traced, retried after EINTR.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use tracing::{Span, debug, info, trace_span};

pub use crate::statistics::Syscall;
use crate::{context, describe, linger, shutdown, statistics};

/// One call: makes `attempt`, counts it, records it as a span, and makes it again if a signal interrupted it.
///
/// # Errors
/// What `attempt` reports, would-block included. After SIGINT or SIGTERM an interrupted call is not made again but
/// fails with [`io::ErrorKind::Interrupted`]; a send is, until the grace period ends, and then fails with
/// [`io::ErrorKind::TimedOut`].
pub fn call<T>(call: Syscall, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        statistics::count_call(call);
        let result = span(call).in_scope(&mut attempt);
        match &result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                statistics::count_would_block(call);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                if call == Syscall::Send && shutdown::expired() {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "did not read what it is owed",
                    ));
                }
                if call == Syscall::Send || !shutdown::requested() {
                    continue;
                }
            }
            _ => {}
        }
        return result;
    }
}

/// A [`call`] that waits for many things at once. Told to stop, it reports that none is ready.
///
/// # Errors
/// What `attempt` reports, but never [`io::ErrorKind::Interrupted`].
pub fn wait(kind: Syscall, attempt: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    debug!("Calling {}...", kind.name());
    let result = match call(kind, attempt) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        result => result,
    };
    if let Ok(ready) = result {
        debug!("{} returned {ready} ready", kind.name());
    }
    result
}

// A span's name must be a literal.
fn span(call: Syscall) -> Span {
    match call {
        Syscall::Accept => trace_span!("accept"),
        Syscall::Recv => trace_span!("recv"),
        Syscall::Send => trace_span!("send"),
        Syscall::Select => trace_span!("select"),
        Syscall::EpollWait => trace_span!("epoll_wait"),
        Syscall::EpollCtl => trace_span!("epoll_ctl"),
        Syscall::Kevent => trace_span!("kevent"),
        Syscall::KeventChange => trace_span!("kevent_change"),
        Syscall::Sleep => trace_span!("sleep"),
    }
}

/// Sleeps, or wakes up early when the server is told to stop. See nanosleep(2).
pub fn sleep(duration: Duration) {
    let started = Instant::now();
    let _interrupted = call(Syscall::Sleep, || {
        let left = duration.saturating_sub(started.elapsed());
        let request = libc::timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        // SAFETY: `request` is a valid timespec, and the remaining time is not asked for.
        #[allow(unsafe_code)]
        let result = unsafe { libc::nanosleep(&request, std::ptr::null_mut()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    });
}

/// Accepts one connection: accept(2), or on Linux accept4(2), which sets the new descriptor's flags in the same call.
///
/// The peer's socket is as blocking as `nonblocking` says, and closed on exec.
///
/// # Errors
/// What accept(2) reports; would-block if `listener` is non-blocking and nobody waits.
pub(crate) fn accept(listener: &TcpListener, nonblocking: bool) -> io::Result<Stream> {
    debug!("Calling accept...");
    match call(Syscall::Accept, || raw::accept(listener, nonblocking)) {
        Ok((socket, address)) => {
            let name = PeerName(address);
            info!("peer {name} connected");
            statistics::count_accepted();
            Ok(Stream { socket, name, handed_over: false, served: false })
        }
        Err(error) => {
            if error.kind() == io::ErrorKind::WouldBlock {
                debug!("accept would block");
            } else {
                debug!("accept: {}", describe(&error));
            }
            Err(error)
        }
    }
}

/// A connected peer. It logs its own coming, failing and going, so that no stage has to.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    name: PeerName,
    handed_over: bool,
    /// Whether anything has been received or sent. Who was refused for want of something has not been a client.
    served: bool,
}

impl Stream {
    /// The peer, as the log names it.
    pub fn name(&self) -> PeerName {
        self.name
    }

    /// Half-closes: the peer learns that no more will come, and may still send. See shutdown(2).
    ///
    /// # Errors
    /// The peer is gone already.
    pub fn shutdown(&self) -> io::Result<()> {
        self.socket.shutdown(std::net::Shutdown::Write)
    }

    /// Whether recv and send say "not now" instead of sleeping. An accepted connection is as its listener.
    ///
    /// # Errors
    /// What ioctl(2) reports.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }

    /// Closes this process's descriptor of a connection that another process, a child, has as well and serves: the
    /// connection goes on, and nothing is said of its end.
    pub fn hand_over(mut self) {
        self.handed_over = true;
    }

    /// Whether something has come that has not been read: to close it now would be a reset (RFC 1122, 4.2.2.13), and would
    /// throw away what is still on its way to the peer. The stream has to be non-blocking.
    pub fn has_input(&self) -> bool {
        linger::has_input(&self.socket)
    }

    fn log(&self, call: Syscall, result: io::Result<usize>) -> io::Result<usize> {
        match result {
            Ok(bytes) => debug!("{} returned {bytes} bytes", call.name()),
            Err(ref error) if error.kind() == io::ErrorKind::WouldBlock => {
                debug!("{} would block", call.name());
            }
            Err(ref error) if error.kind() == io::ErrorKind::Interrupted => {
                debug!("{} interrupted", call.name());
            }
            Err(ref error) => {
                info!("peer {} failed: {}", self.name, context(error, call.name()));
            }
        }
        result
    }
}

/// recv(2) without flags. Once the server has been told to stop it fails as if that had interrupted it.
impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        debug!("Calling recv...");
        if shutdown::requested() {
            return self.log(Syscall::Recv, Err(io::ErrorKind::Interrupted.into()));
        }
        let result = call(Syscall::Recv, || self.socket.read(buffer));
        self.served |= result.is_ok();
        self.log(Syscall::Recv, result)
    }
}

/// send(2). std passes MSG_NOSIGNAL (and Rust's runtime ignores SIGPIPE): a peer that is gone is an EPIPE, not our end.
impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        debug!("Calling send...");
        let result = call(Syscall::Send, || self.socket.write(bytes));
        self.served |= result.is_ok();
        self.log(Syscall::Send, result)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.handed_over {
            return;
        }
        if shutdown::requested() {
            linger::keep_if_unread(&self.socket);
        }
        info!("peer {} done", self.name);
        if self.served {
            shutdown::on_client_left();
        }
    }
}

/// A peer's address as the log writes it: `(127.0.0.1, 60158)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerName(SocketAddr);

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.0.ip(), self.0.port())
    }
}

/// What std has no call for: an accept that a signal can interrupt.
#[allow(unsafe_code)]
mod raw {
    use std::io;
    use std::mem;
    use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, FromRawFd};

    use nix::sys::socket::{SockaddrLike, SockaddrStorage};

    pub(super) fn accept(
        listener: &TcpListener,
        nonblocking: bool,
    ) -> io::Result<(TcpStream, SocketAddr)> {
        // SAFETY: a sockaddr_storage of zeros is a valid value (AF_UNSPEC).
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let mut length = mem::size_of_val(&storage) as libc::socklen_t;
        let address = (&raw mut storage).cast::<libc::sockaddr>();

        #[cfg(any(target_os = "linux", target_os = "freebsd"))]
        let descriptor = {
            let flags = libc::SOCK_CLOEXEC | if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
            // SAFETY: `address` points to `length` writable bytes, and both outlive the call.
            unsafe { libc::accept4(listener.as_raw_fd(), address, &mut length, flags) }
        };
        #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
        // SAFETY: `address` points to `length` writable bytes, and both outlive the call.
        let descriptor = unsafe { libc::accept(listener.as_raw_fd(), address, &mut length) };

        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: accept returned this descriptor just now; nobody else owns it.
        let stream = unsafe { TcpStream::from_raw_fd(descriptor) };
        #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
        {
            use nix::fcntl::{FcntlArg, FdFlag, fcntl};
            fcntl(&stream, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
            // Where there is no accept4, the new socket inherits O_NONBLOCK on the BSDs and macOS, elsewhere not.
            stream.set_nonblocking(nonblocking)?;
        }
        // SAFETY: the kernel wrote `length` bytes of a socket address there.
        let storage = unsafe { SockaddrStorage::from_raw(address, Some(length)) };
        let address = storage.and_then(|storage| {
            let v4 = storage.as_sockaddr_in().map(|v4| SocketAddrV4::from(*v4).into());
            v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into()))
        });
        // macOS accepts a connection that was reset meanwhile, and has no address for it any more.
        Ok((stream, address.ok_or(io::ErrorKind::ConnectionAborted)?))
    }
}
