//! As [`level`](super::level), but edge-triggered: the kernel tells every epoll once of each arrival. The herd is not
//! smaller.
//!
//! Edge-triggered is about how often *one* poller hears the same news. Here every worker has a poller, and to each of
//! them it is news.

use std::io;

use server::{Listener, shutdown};
use step6_epoll_kqueue::{Interest, Poller};

use crate::App;
use crate::clients::Clients;
use crate::scoreboard::Slot;

/// Serves all clients at once until the worker is to stop.
///
/// # Errors
/// A listener or the poller cannot be used any more.
pub fn serve(listeners: &mut [Listener], app: App, slot: Slot) -> io::Result<()> {
    let mut poller = Poller::new()?;
    for (token, listener) in (0..).zip(&mut *listeners) {
        listener.set_nonblocking()?;
        poller.add_edge_triggered(&*listener, token, Interest::READ)?;
    }
    let mut clients = Clients::new(app, listeners.len());
    let mut events = Vec::new();
    while !shutdown::requested() {
        poller.wait(&mut events, None)?;
        for &event in &events {
            match listeners.get_mut(event.token as usize) {
                // Accept all: several arrivals may be one piece of news.
                Some(listener) => {
                    while let Some(stream) = slot.accept(listener)? {
                        clients.on_connected(stream, &poller);
                    }
                }
                None => clients.on_ready(event, &poller),
            }
        }
    }
    Ok(())
}
