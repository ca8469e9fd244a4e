//! A poller on which several threads wait, and which reports each descriptor once: EPOLLONESHOT on Linux, EV_ONESHOT on
//! macOS and the BSDs. (Step 6's belongs to one thread: its wait fills a buffer of its own.)
//!
//! The compiler picks one of two bodies with the same functions.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod epoll;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use epoll::SharedPoller;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod kqueue;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use kqueue::SharedPoller;
