//! One process, several threads, one poller: what EPOLLONESHOT (kqueue: EV_ONESHOT) is for.
//!
//! Several threads may wait on one poller, and one event wakes one of them. Without the flag the kernel reports a
//! client that is still readable to the next thread as well, while the first one serves it (level-triggered;
//! edge-triggered, when more arrives). Two threads would read one client's bytes, and neither would know the order.
//!
//! The report of a *one-shot* descriptor also disables it. The thread that got the report has the descriptor to itself,
//! until it arms it again. Here the type of the table says the same: to serve a client is to take it out.

use std::collections::HashMap;
use std::io::{self, PipeReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use server::{Listener, Stream, shutdown};
use step6_epoll_kqueue::Interest;
use tracing::{Span, error_span, warn};

use crate::App;
use crate::app::{Client, INPUT};
use crate::scoreboard::Slot;
use crate::shared_poller::SharedPoller;

/// Serves all clients with a thread for each slot, until the worker is to stop.
///
/// # Errors
/// A listener or the poller cannot be used any more, or there is no thread.
pub fn serve(listeners: Vec<Listener>, app: App, slots: &[Slot]) -> io::Result<()> {
    let threads = Threads {
        app,
        poller: SharedPoller::new()?,
        watched: Mutex::default(),
        last_token: AtomicU64::new(0),
    };
    for mut listener in listeners {
        listener.set_nonblocking()?;
        threads.add(Watched::Listener(listener), Interest::READ)?;
    }
    let (stop, stopping) = io::pipe()?;
    threads.add(Watched::Stop(stop), Interest::READ)?;

    // A signal wakes one thread. The first to leave tells the others.
    let tell_all = || {
        let _ = (&stopping).write(b"!");
    };
    let (threads, process) = (&threads, &Span::current());
    let serve = |(number, &slot): (usize, &Slot)| {
        let _log = error_span!(parent: process, "thread", number).entered();
        let outcome = threads.serve(slot);
        tell_all();
        outcome
    };
    thread::scope(|scope| {
        let mut slots = (1..).zip(slots);
        let first = slots.next();
        let others = slots
            .map(|slot| thread::Builder::new().spawn_scoped(scope, move || serve(slot)))
            .collect::<io::Result<Vec<_>>>()
            .inspect_err(|_| tell_all())?;
        let mut outcome = first.map_or(Ok(()), serve);
        for other in others {
            let ended = other.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
            outcome = outcome.and(ended);
        }
        outcome
    })
}

/// What the threads have in common.
struct Threads {
    app: App,
    poller: SharedPoller,
    /// What the poller may report, each under its token. A thread takes out what it serves.
    watched: Mutex<HashMap<u64, Watched>>,
    last_token: AtomicU64,
}

enum Watched {
    Listener(Listener),
    Client(Client),
    /// Readable when the threads are to end.
    Stop(PipeReader),
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Watched::Listener(listener) => listener.as_fd(),
            Watched::Client(client) => client.stream.as_fd(),
            Watched::Stop(pipe) => pipe.as_fd(),
        }
    }
}

impl Threads {
    /// What one thread does.
    fn serve(&self, slot: Slot) -> io::Result<()> {
        let mut input = vec![0; INPUT];
        while !shutdown::requested() {
            let Some(event) = self.poller.wait()? else { continue };
            let watched = self.watched().remove(&event.token);
            match watched.ok_or_else(|| io::Error::other("reported to two threads at a time"))? {
                Watched::Listener(mut listener) => {
                    let accepted = slot.accept(&mut listener)?;
                    // Before the client is served: another thread can accept the next one meanwhile.
                    self.put_back(event.token, Watched::Listener(listener), Interest::READ)?;
                    if let Some(stream) = accepted {
                        self.on_connected(stream);
                    }
                }
                Watched::Client(mut client) => {
                    let outcome = client.on_ready(event, &mut input, |_| ());
                    if let Ok(interest) = client.then(outcome) {
                        // If that fails, the client has been closed.
                        let _ = self.put_back(event.token, Watched::Client(client), interest);
                    }
                }
                stop @ Watched::Stop(_) => {
                    return self.put_back(event.token, stop, Interest::READ);
                }
            }
        }
        Ok(())
    }

    fn on_connected(&self, stream: Stream) {
        let name = stream.name();
        let Ok(client) = Client::new(self.app, stream) else { return };
        let interest = client.interest();
        if interest == Interest::NONE {
            return; // it has been told all that there is
        }
        if let Err(error) = self.add(Watched::Client(client), interest) {
            warn!("peer {name} refused: {}", server::describe(&error));
        }
    }

    fn add(&self, watched: Watched, interest: Interest) -> io::Result<()> {
        let token = self.last_token.fetch_add(1, Ordering::Relaxed) + 1;
        let mut table = self.watched();
        self.poller.add(&watched, token, interest)?;
        table.insert(token, watched);
        Ok(())
    }

    /// Gives it to the next thread that is told of it. That may be at once: then that thread waits for the table.
    fn put_back(&self, token: u64, watched: Watched, interest: Interest) -> io::Result<()> {
        let mut table = self.watched();
        self.poller.arm(&watched, token, interest)?;
        table.insert(token, watched);
        Ok(())
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<u64, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
