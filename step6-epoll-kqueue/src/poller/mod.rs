//! One small type with two bodies: `epoll.rs` for Linux, `kqueue.rs` for macOS and the BSDs.
//!
//! The compiler picks one; there is no trait between them and the caller, only the same functions with the same names.

use std::time::{Duration, Instant};

pub use peer::Interest;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod epoll;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use epoll::Poller;

#[cfg(any(
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
))]
mod kqueue;
#[cfg(any(
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
))]
pub use kqueue::Poller;

#[cfg(not(unix))]
compile_error!("this course needs epoll or kqueue: Linux, macOS or a BSD");

/// The most readiness that one wait takes from the kernel. If more is ready, the next wait returns it.
const EVENTS: usize = 1024;

/// Returns a function that says how much of a wait's time is left: a wait that a signal has interrupted must not begin anew.
/// A time that the clock cannot express is as good as no end.
fn left_of(timeout: Option<Duration>) -> impl Fn() -> Option<Duration> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    move || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

/// Which descriptor is ready, and for what. Both flags are hints: the call that follows may still find that it would
/// block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The number under which the descriptor was added. Not the descriptor: within one batch of events that may have
    /// been closed and be somebody else's already.
    pub token: u64,
    /// A recv or accept will not block: there is something, or the end, or an error to fetch.
    pub readable: bool,
    /// A send will not block: there is room, or an error to fetch.
    pub writable: bool,
}
