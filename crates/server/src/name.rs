//! A peer's name.

use std::fmt;
use std::net::SocketAddr;

/// A peer's address as the log writes it: `(127.0.0.1, 60158)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerName(SocketAddr);

impl PeerName {
    pub(crate) fn new(address: SocketAddr) -> Self {
        PeerName(address)
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.0.ip(), self.0.port())
    }
}
