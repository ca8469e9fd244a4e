//! As [`semaphore`](super::semaphore), with the lock around the wait instead of around accept: a worker that does not
//! hold it takes the listener off its list. nginx did this before EPOLLEXCLUSIVE: `accept_mutex`.
//!
//! Only the holder can be woken. The others sleep on, and try the lock now and then. The cost: the holder is likely to
//! get the lock again, so one worker does most of the work. If that worker is stuck, no worker accepts.

use std::io;
use std::time::Duration;

use server::{Listener, shutdown};
use step6_epoll_kqueue::{Interest, Poller};

use crate::App;
use crate::clients::Clients;
use crate::lock::Lock;
use crate::scoreboard::Slot;

/// How long a worker waits before it tries the lock again. nginx's `accept_mutex_delay` is 500 ms as well.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// Serves all clients at once until the worker is to stop.
///
/// # Errors
/// A listener or the poller cannot be used any more.
pub fn serve(listeners: &mut [Listener], app: App, slot: Slot, lock: &Lock) -> io::Result<()> {
    let mut poller = Poller::new()?;
    for listener in &mut *listeners {
        listener.set_nonblocking()?;
    }
    let mut clients = Clients::new(app, listeners.len());
    let mut events = Vec::new();
    let mut watching = false;
    while !shutdown::requested() {
        let held = lock.try_lock();
        if held.is_some() != watching {
            for (token, listener) in (0..).zip(&*listeners) {
                match held {
                    Some(_) => poller.add(listener, token, Interest::READ)?,
                    None => poller.delete(listener)?,
                }
            }
            watching = held.is_some();
        }
        poller.wait(&mut events, if watching { None } else { Some(TRY_AGAIN) })?;
        for &event in &events {
            match listeners.get_mut(event.token as usize) {
                // One is enough: as long as more are waiting, the next holder's wait returns at once.
                Some(listener) => {
                    if let Some(stream) = slot.accept(listener)? {
                        clients.on_connected(stream, &poller);
                    }
                }
                None => clients.on_ready(event, &poller),
            }
        }
        drop(held);
    }
    Ok(())
}
