//! As [`level`](super::level), but a worker must hold a lock to accept: one lock, which all workers share.
//!
//! The lock is tried, not waited for: a worker without it has other clients to serve. The lock saves the losers an
//! accept in vain. It does not save them the wakeup, and that is what the herd costs. ([`mutex`](super::mutex) goes one
//! step further.)

use std::io;

use server::{Listener, shutdown};
use step6_epoll_kqueue::{Interest, Poller};

use crate::App;
use crate::clients::Clients;
use crate::lock::Lock;
use crate::scoreboard::Slot;

/// Serves all clients at once until the worker is to stop.
///
/// # Errors
/// A listener or the poller cannot be used any more.
pub fn serve(listeners: &mut [Listener], app: App, slot: Slot, lock: &Lock) -> io::Result<()> {
    let mut poller = Poller::new()?;
    for (token, listener) in (0..).zip(&mut *listeners) {
        listener.set_nonblocking()?;
        poller.add(&*listener, token, Interest::READ)?;
    }
    let mut clients = Clients::new(app, listeners.len());
    let mut events = Vec::new();
    while !shutdown::requested() {
        poller.wait(&mut events, None)?;
        for &event in &events {
            match listeners.get_mut(event.token as usize) {
                // The holder accepts. If a connection is still waiting then, the next wait returns at once.
                Some(listener) => {
                    let Some(held) = lock.try_lock() else { continue };
                    let accepted = slot.accept(listener)?;
                    drop(held);
                    if let Some(stream) = accepted {
                        clients.on_connected(stream, &poller);
                    }
                }
                None => clients.on_ready(event, &poller),
            }
        }
    }
    Ok(())
}
