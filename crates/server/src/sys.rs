//! The system calls that can wait: one call each, counted, traced, retried after EINTR.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tracing::debug;

pub use crate::syscall::Syscall;
use crate::{describe, shutdown, statistics};

/// One call: makes `attempt`, counts it, records it as a span, and makes it again if a signal interrupted it.
///
/// # Errors
/// What `attempt` reports, would-block included. After SIGINT or SIGTERM an interrupted call is not made again but
/// fails with [`io::ErrorKind::Interrupted`].
#[inline]
pub fn call<T>(call: Syscall, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    shutdown::may_sleep();
    loop {
        statistics::count_call(call);
        let result = call.span().in_scope(&mut attempt);
        match &result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                statistics::count_would_block(call);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                if !shutdown::requested() {
                    continue;
                }
                statistics::count_stopped(call);
            }
            _ => {}
        }
        return result;
    }
}

/// A [`call`] that waits for many things at once. Told to stop, it reports 0 ready.
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
/// What accept(2) reports; would-block if `listener` is non-blocking and no peer waits.
pub(crate) fn accept(
    listener: &TcpListener,
    nonblocking: bool,
) -> io::Result<(TcpStream, SocketAddr)> {
    debug!("Calling accept...");
    let result = call(Syscall::Accept, || raw::accept(listener, nonblocking));
    match &result {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => debug!("accept would block"),
        Err(error) => debug!("accept: {}", describe(error)),
    }
    result
}

/// What std has no call for.
#[allow(unsafe_code)]
mod raw {
    use std::io;
    use std::mem;
    use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, FromRawFd};

    use nix::sys::socket::{SockaddrLike, SockaddrStorage};

    /// An accept that a signal can interrupt.
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
        // SAFETY: accept returned this descriptor just now; nothing else owns it.
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
