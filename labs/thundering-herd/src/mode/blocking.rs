//! As [`level`](super::level), without `set_nonblocking`: one line less, and workers that stop serving their clients.
//!
//! One connection wakes every worker. One of them accepts it. Each of the others that has left epoll_wait by then calls
//! accept too, finds the queue empty, and falls asleep there (`inet_csk_accept`). It watches nothing any more: its clients
//! speak, and it does not hear them.
//!
//! The next connection wakes every worker that sleeps in its poller, and one of those that sleep in accept, because these
//! are exclusive entries in the listener's queue. Which of the woken ones gets the connection is a race.
//!
//! One worker is never stuck: the one that accepted last. Its poller finds the queue empty.

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
