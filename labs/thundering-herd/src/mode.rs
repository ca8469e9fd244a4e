//! The ways to wait. Each is one file. Its `serve` is given the listeners to wait for, and returns when the worker is
//! to stop.
//!
//! These functions differ in how the listener gets on the worker's list, and in what happens when it is reported ready.
//! Everything else is the same, line by line.

use clap::ValueEnum;
use step6_epoll_kqueue::Poller;

pub mod accept;
pub mod blocking;
#[cfg(target_os = "linux")]
pub mod edge;
#[cfg(target_os = "linux")]
pub mod exclusive;
pub mod level;
pub mod mutex;
pub mod oneshot;
pub mod reuseport;
pub mod semaphore;

/// How the workers wait for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Each worker blocks in accept on the listener that all share
    Accept,
    /// Each worker's own epoll (or kqueue) watches the shared listener, which blocks: the losers fall asleep in accept
    Blocking,
    /// The same with a listener that does not block, level-triggered
    #[value(name = Poller::NAME)]
    Level,
    /// The same, edge-triggered
    #[cfg(target_os = "linux")]
    Edge,
    /// Level-triggered, and only the worker that gets hold of a lock may accept
    Semaphore,
    /// Level-triggered, and only the worker that holds a lock watches the listener: nginx's accept_mutex
    Mutex,
    /// Level-triggered with EPOLLEXCLUSIVE: a connection wakes one of the epolls
    #[cfg(target_os = "linux")]
    Exclusive,
    /// Each worker has a listener of its own on the same port: SO_REUSEPORT
    Reuseport,
    /// The workers are threads of one process with one poller: EPOLLONESHOT (or EV_ONESHOT)
    Oneshot,
}

impl Mode {
    /// How many processes this many workers are.
    pub fn processes(self, workers: usize) -> usize {
        if self == Mode::Oneshot { 1 } else { workers }
    }

    /// Its name on the command line and in tables.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
