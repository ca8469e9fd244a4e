//! Every worker sleeps in its own epoll (kqueue elsewhere), and every epoll watches the shared listener: the herd.
//!
//! An epoll puts an entry into the listener's queue, and not an exclusive one: to the kernel, each of them may have a
//! different purpose. So one connection wakes every worker. One of them accepts it. Those that find the queue empty
//! before they have left the kernel go back to sleep there (`ep_send_events` asks the listener once more); the others
//! return from the wait and learn it from accept.

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
        poller.add(&*listener, token, Interest::READ)?;
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
