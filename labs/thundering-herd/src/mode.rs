//! The ways to wait. Each is one file that is told which listeners to wait for, and stays until the worker is to stop.
//!
//! Their `serve` functions differ in how the listener is put on the worker's list, and in what is done when it is said
//! to be ready. Everything else is the same, line by line.

use clap::ValueEnum;
use step6_epoll_kqueue::Poller;

pub mod accept;
#[cfg(target_os = "linux")]
pub mod edge;
#[cfg(target_os = "linux")]
pub mod exclusive;
pub mod level;
pub mod mutex;
pub mod reuseport;
pub mod semaphore;

/// How the workers wait for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Each worker blocks in accept on the listener that all share
    Accept,
    /// Each worker's own epoll (or kqueue) watches the shared listener, level-triggered
    #[value(name = Poller::NAME)]
    Level,
    /// The same, edge-triggered
    #[cfg(target_os = "linux")]
    Edge,
    /// The same, level-triggered with EPOLLEXCLUSIVE
    #[cfg(target_os = "linux")]
    Exclusive,
    /// Level-triggered, and only who gets hold of a lock may accept
    Semaphore,
    /// Level-triggered, and only who holds a lock watches the listener at all: nginx's accept_mutex
    Mutex,
    /// Each worker has a listener of its own on the same port: SO_REUSEPORT
    Reuseport,
}

impl Mode {
    /// Its name on the command line and in tables.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
