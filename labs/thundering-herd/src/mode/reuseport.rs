//! As [`level`](super::level), but no listener is shared: each worker has its own, bound to the same port with
//! SO_REUSEPORT (Linux 3.9).
//!
//! When a connection is made, the kernel picks the listener by a hash of its addresses and ports. It wakes no other
//! worker. The worker that the hash has chosen gets the connection even if that worker is busy, stuck, or about to end
//! with the connection still in its backlog.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{SockaddrStorage, getsockname, setsockopt, sockopt};
use server::{Listener, listener};

/// A port that is taken, and has no listener yet. (A socket that is merely bound gets no connections.)
#[derive(Debug)]
pub struct SharedPort {
    address: SocketAddr,
    _bound: OwnedFd,
}

impl SharedPort {
    /// Takes the port, which others may then share.
    ///
    /// # Errors
    /// `host` has no address, or the port is taken already.
    pub fn take(host: &str, port: u16) -> io::Result<Self> {
        listener::on_first_address(host, port, |address| {
            if port != 0 {
                // If another server shares the port, we could take it too, and half of its connections. Listening
                // without sharing succeeds only if there is no other server.
                drop(Listener::listen(listener::bound(address, |_| Ok(()))?, 1)?);
            }
            let bound = listener::bound(address, share)?;
            // With port 0 the kernel has chosen one just now.
            let name: SockaddrStorage = getsockname(bound.as_raw_fd())?;
            let port = name.as_sockaddr_in().map(|v4| v4.port());
            let port = port.or_else(|| name.as_sockaddr_in6().map(|v6| v6.port()));
            let address = SocketAddr::new(address.ip(), port.unwrap_or(address.port()));
            Ok(SharedPort { address, _bound: bound })
        })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// One more listener on it.
    ///
    /// # Errors
    /// What socket(2), bind(2) and listen(2) report.
    pub fn listen(&self, backlog: i32) -> io::Result<Listener> {
        Listener::listen(listener::bound(self.address, share)?, backlog)
    }
}

/// Lets more sockets bind to the same address; the kernel spreads connections over those that listen. On FreeBSD
/// another option does that; macOS spreads nothing. See socket(7).
fn share(socket: &OwnedFd) -> io::Result<()> {
    #[cfg(target_os = "freebsd")]
    setsockopt(socket, sockopt::ReusePortLb, &true)?;
    #[cfg(not(target_os = "freebsd"))]
    setsockopt(socket, sockopt::ReusePort, &true)?;
    Ok(())
}
