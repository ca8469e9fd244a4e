//! As [`level`](super::level), with the one flag that makes an epoll's entry in the listener's queue an exclusive one:
//! EPOLLEXCLUSIVE, since Linux 4.5.
//!
//! One connection wakes one worker, as in accept. Unlike in accept the entry stays where it is, at the head of the
//! queue, so the same worker is woken again as long as it is asleep when the next connection comes.

use std::io;
use std::os::fd::AsFd;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use server::{Listener, shutdown};
use step6_epoll_kqueue::Poller;

use crate::App;
use crate::clients::Clients;
use crate::scoreboard::Slot;

/// Serves all clients at once until the worker is to stop.
///
/// # Errors
/// A listener or the poller cannot be used any more.
pub fn serve(listeners: &mut [Listener], app: App, slot: Slot) -> io::Result<()> {
    let mut poller = Poller::new()?;
    // Step 6's poller does not know this flag: this is another descriptor of the same epoll.
    let epoll = Epoll(poller.as_fd().try_clone_to_owned()?);
    for (token, listener) in (0..).zip(&mut *listeners) {
        listener.set_nonblocking()?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        epoll.add(&*listener, EpollEvent::new(flags, token))?;
    }
    let mut clients = Clients::new(app, listeners.len());
    let mut events = Vec::new();
    while !shutdown::requested() {
        poller.wait(&mut events, None)?;
        for &event in &events {
            match listeners.get_mut(event.token as usize) {
                // One is enough: as long as more are waiting, the next wait returns at once.
                Some(listener) => {
                    if let Some(stream) = slot.accept(listener)? {
                        clients.on_connected(stream, &poller);
                    }
                }
                None => clients.on_ready(event, &poller),
            }
        }
    }
    Ok(())
}
