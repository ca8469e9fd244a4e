//! The listening socket, and all that can go wrong with accept.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use tracing::{debug, warn};

use crate::{Stream, context, describe, limits, shutdown, statistics, sys};

/// A refusal this soon after another belongs to the same row.
const SAME_ROW: Duration = Duration::from_secs(10);

/// A bound, listening socket.
///
/// It keeps one descriptor in reserve. When the process has used up all others, accept fails at once with EMFILE, the
/// connection stays in the backlog, and a loop that tries again spins. With the reserve given up for a moment the
/// connection can be accepted and closed: its client learns that it was refused, and the loop does not spin. (libuv and libev do
/// the same.)
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    nonblocking: bool,
    reserve: Option<File>,
    last_refusal: Option<Instant>,
}

impl Listener {
    /// Binds the first address of `host` that can be [`bound`], and listens.
    ///
    /// # Errors
    /// `host` has no address, or no address can be bound: the text names which.
    pub fn bind(host: &str, port: u16, backlog: i32) -> io::Result<Self> {
        on_first_address(host, port, |address| Self::listen(bound(address, |_| Ok(()))?, backlog))
    }

    /// Listens on a socket that is [`bound`].
    ///
    /// # Errors
    /// What listen(2) reports; or there is no descriptor left for the reserve.
    pub fn listen(socket: OwnedFd, backlog: i32) -> io::Result<Self> {
        // nix and std both bound the backlog by a constant of their own; the kernel knows its limit better.
        // SAFETY: listen(2) takes no pointers.
        #[allow(unsafe_code)]
        Errno::result(unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
        Ok(Listener {
            socket: TcpListener::from(socket),
            nonblocking: false,
            reserve: Some(open_reserve()?),
            last_refusal: None,
        })
    }

    /// The address that clients connect to, with the port that the kernel picked if 0 was asked for.
    ///
    /// # Errors
    /// What getsockname(2) reports.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Sets O_NONBLOCK: from here on accept says "no peer waits" instead of sleeping, and the sockets it returns say
    /// "not now".
    ///
    /// # Errors
    /// What ioctl(2) reports.
    pub fn set_nonblocking(&mut self) -> io::Result<()> {
        self.nonblocking = true;
        self.socket.set_nonblocking(true)
    }

    /// The next peer. Returns `None` if no peer waits (non-blocking) or the server has been told to stop. A non-blocking
    /// listener also returns `None` while the kernel has no memory for another peer: level-triggered readiness then reports
    /// at once that a peer waits, edge-triggered readiness only when the next one comes.
    ///
    /// # Errors
    /// Only those after which the listener is of no use any more. A connection that came to nothing and a process
    /// that has no descriptor left are dealt with here.
    pub fn accept(&mut self) -> io::Result<Option<Stream>> {
        while !shutdown::requested() {
            match sys::accept(&self.socket, self.nonblocking) {
                Ok(peer) => {
                    let stream = Stream::new(peer);
                    match self.may_stay() {
                        Ok(()) => return Ok(Some(stream)),
                        Err(reason) => {
                            drop(stream);
                            self.reserve = self.reserve.take().or_else(|| open_reserve().ok());
                            self.refused(reason);
                        }
                    }
                }
                Err(error) => match after_failure(&error) {
                    Next::NobodyWaits => {
                        self.reserve = self.reserve.take().or_else(|| open_reserve().ok());
                        return Ok(None);
                    }
                    Next::AskAgain => debug!("a connection came to nothing: {}", describe(&error)),
                    Next::UseReserve if self.reserve.take().is_some() => {}
                    Next::UseReserve | Next::BackOff => {
                        self.warn(&error);
                        // A loop has others to serve, and asks again after it.
                        if self.nonblocking {
                            return Ok(None);
                        }
                        sys::sleep(Duration::from_millis(10));
                    }
                    Next::GiveUp => return Err(context(&error, "cannot accept")),
                },
            }
        }
        Ok(None)
    }

    /// Whether a peer that has just been accepted may stay; if not, why.
    fn may_stay(&mut self) -> io::Result<()> {
        if self.reserve.is_none() {
            // It sits on the reserve's descriptor. It may stay if there is another one by now.
            self.reserve = Some(open_reserve()?);
        }
        limits::too_many().map_or(Ok(()), Err)
    }

    /// Notes that a peer was accepted, could not be served, and has been closed, so that its client knows. `reason` says what
    /// was missing. Of a row of refusals only the first is a warning in the log.
    pub fn refused(&mut self, reason: io::Error) {
        statistics::count_refused();
        self.warn(&reason);
    }

    fn warn(&mut self, reason: &io::Error) {
        let same_row = self.last_refusal.is_some_and(|last| last.elapsed() < SAME_ROW);
        self.last_refusal = Some(Instant::now());
        if same_row {
            debug!("refusing a peer: {}", describe(reason));
        } else {
            warn!("refusing peers: {}", describe(reason));
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn open_reserve() -> io::Result<File> {
    File::open("/dev/null")
}

/// What `listen` makes of the first address of `host` for which it does not fail.
///
/// # Errors
/// `host` has no address, or `listen` fails for each: the text names which.
pub fn on_first_address<T>(
    host: &str,
    port: u16,
    mut listen: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| context(&error, format_args!("cannot resolve {host}")))?;
    let mut outcome = Err(io::Error::other(format!("{host} has no address")));
    for address in addresses {
        match listen(address) {
            Ok(listening) => return Ok(listening),
            Err(error) => {
                outcome = Err(context(&error, format_args!("cannot listen on {address}")));
            }
        }
    }
    outcome
}

/// A socket bound to `address`, not listening yet. `configure` sets further options before the bind.
///
/// `SO_REUSEADDR` is set: otherwise a restarted server could not bind for a minute or so while connections of its
/// predecessor linger in TIME_WAIT. `TCP_NODELAY` is set too (accepted sockets inherit it): a small reply need
/// not wait for the acknowledgement of the one before it. See socket(7), tcp(7), listen(2).
///
/// # Errors
/// What socket(2), `configure` and bind(2) report.
pub fn bound(
    address: SocketAddr,
    configure: impl FnOnce(&OwnedFd) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    #[cfg(not(target_os = "macos"))]
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    #[cfg(target_os = "macos")]
    let socket = socket(family, SockType::Stream, SockFlag::empty(), None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
    configure(&socket)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}

/// What an error of accept(2) asks for.
enum Next {
    NobodyWaits,
    AskAgain,
    UseReserve,
    BackOff,
    GiveUp,
}

fn after_failure(error: &io::Error) -> Next {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EAGAIN | Errno::EINTR) => Next::NobodyWaits,
        // The process's descriptors, or the whole system's, are used up.
        Some(Errno::EMFILE | Errno::ENFILE) => Next::UseReserve,
        // Memory is; a little later it may not be.
        Some(Errno::ENOBUFS | Errno::ENOMEM) => Next::BackOff,
        Some(
            Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK | Errno::EOPNOTSUPP | Errno::EFAULT,
        ) => Next::GiveUp,
        // ECONNABORTED and the network errors that Linux passes on (accept(2)): this connection's, not the listener's.
        _ => Next::AskAgain,
    }
}
