//! The reactor: sleeps in the poller of step 6, and wakes the tasks that wait for what the kernel reports.
//!
//! The reactor is level-triggered, as in step 6. A task that is told to receive does so once, and waits again: if there
//! is more, the kernel says so again. With edge-triggered mode it would have to go on until would-block, and one recv
//! in two would be in vain.
//!
//! When a task has been woken, its descriptor is *not* taken off the kernel's list: the task will probably wait for the
//! same soon. If the kernel reports a descriptor that no task waits for, the reactor takes it off until a task does. So
//! an echo server tells the kernel nothing new from one message to the next, as in step 6.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::btree_map::{BTreeMap, OccupiedEntry};
use std::io;
use std::iter;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use server::{logging::asleep_at, shutdown};
use step6_epoll_kqueue::{Interest, Poller};
use step7_event_loop::{Key, Slab};

use crate::run_queue::RunQueue;

/// The tasks' wakers, in the order of their instants. A number orders those of the same instant.
pub(crate) type Timers = BTreeMap<(Instant, u64), Waker>;
type Timer<'a> = OccupiedEntry<'a, (Instant, u64), Waker>;

/// The token of the pipe that wakes the executor. No key has this token: its slot would be the four thousand millionth.
const WAKEUP: u64 = u64::MAX;

pub(crate) struct Reactor {
    poller: RefCell<Poller>,
    sources: RefCell<Slab<Rc<dyn Watched>>>,
    pub(crate) timers: RefCell<Timers>,
    /// How many sleeps have begun.
    pub(crate) sleeps: Cell<u64>,
    run_queue: Arc<RunQueue<Key>>,
}

impl Reactor {
    pub(crate) fn new(run_queue: Arc<RunQueue<Key>>) -> io::Result<Self> {
        let poller = RefCell::new(Poller::new()?);
        // Edge-triggered, so that Miri can run this: its epoll has no other mode.
        poller.borrow().add_edge_triggered(&run_queue.pipe, WAKEUP, Interest::READ)?;
        let (sources, timers, sleeps) = Default::default();
        Ok(Reactor { poller, sources, timers, sleeps, run_queue })
    }

    /// Sleeps, if it may, until a descriptor is ready, a timer is due, or another thread wakes a task.
    pub(crate) fn wait(&self, may_sleep: bool) -> io::Result<()> {
        let next_timer = self.timers.borrow().first_key_value().map(|(due, _)| due.0);
        let left = next_timer.map(|due| due.saturating_duration_since(Instant::now()));
        let timeout = if may_sleep { left } else { Some(Duration::ZERO) };
        let mut events = Vec::new();
        self.poller.borrow_mut().wait(&mut events, timeout)?;
        self.run_queue.awake();
        for token in events.iter().map(|event| event.token) {
            let source = self.sources.borrow().get(Key::from_token(token)).cloned();
            match source {
                Some(source) => source.on_ready(&self.poller.borrow(), token),
                // No source has this token: it is the pipe's. (Or its source was dropped a moment ago, by a waker.)
                None => self.run_queue.pipe.clear(),
            }
        }
        let is_due = |timer: &Timer<'_>| timer.key().0 <= Instant::now();
        let pop = || self.timers.borrow_mut().first_entry().filter(is_due).map(Timer::remove);
        iter::from_fn(pop).for_each(Waker::wake); // one by one: a waker may do anything
        Ok(())
    }
}

/// Something with a descriptor, which must be non-blocking. One task at a time can wait for it.
///
/// (In Tokio it is `AsyncFd`, in smol `Async`. With those two tasks can wait, a reader and a writer.)
pub(crate) struct Source<T: AsFd + 'static> {
    shared: Rc<Shared<T>>,
    key: Key,
    reactor: Rc<Reactor>,
}

/// The part that the reactor has as well.
struct Shared<T> {
    io: RefCell<T>,
    /// The interest that the kernel watches it for.
    watched: Cell<Interest>,
    waiting: Cell<Option<Waker>>,
    /// Whether the task has been woken, and has not looked yet.
    woken: Cell<bool>,
}

impl<T: AsFd> Source<T> {
    /// Asks the kernel to watch it, for input first.
    ///
    /// # Errors
    /// As [`Poller::add`].
    pub(crate) fn new(io: T, reactor: &Rc<Reactor>) -> io::Result<Self> {
        let (watched, (waiting, woken)) = (Cell::new(Interest::NONE), Default::default());
        let shared = Rc::new(Shared { io: RefCell::new(io), watched, waiting, woken });
        let key = reactor.sources.borrow_mut().insert(shared.clone());
        let source = Source { shared, key, reactor: Rc::clone(reactor) };
        source.watch(Interest::READ)?;
        Ok(source)
    }

    /// The listener or stream inside, to make a call on. After the call it is not known whether it is still ready.
    pub(crate) fn io(&self) -> RefMut<'_, T> {
        self.shared.woken.set(false);
        self.shared.io.borrow_mut()
    }

    /// Ready when a call is likely to have something to do; it may still say would-block.
    ///
    /// # Errors
    /// As [`Poller::modify`].
    pub(crate) fn poll_ready(
        &self,
        interest: Interest,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let is_watched = self.shared.watched.get() == interest;
        // A server that was told to stop waits for nothing: each call reports the end.
        if self.shared.woken.take() && is_watched || shutdown::requested() {
            return Poll::Ready(Ok(()));
        }
        self.watch(interest)?;
        self.shared.waiting.set(Some(context.waker().clone()));
        asleep_at(if interest.read { "readable.await" } else { "writable.await" });
        Poll::Pending
    }

    fn watch(&self, interest: Interest) -> io::Result<()> {
        self.shared.watch(&self.reactor.poller.borrow(), self.key.to_token(), interest)
    }
}

/// The descriptor may outlive the source: a server that is told to stop leaves it to [`linger`](server::linger()). The
/// kernel would still report it, and no source would have its token.
impl<T: AsFd> Drop for Source<T> {
    fn drop(&mut self) {
        let _ = self.watch(Interest::NONE);
        self.reactor.sources.borrow_mut().remove(self.key);
    }
}

/// A source, whatever it is made of.
trait Watched {
    /// It is ready for what it is watched for.
    fn on_ready(&self, poller: &Poller, token: u64);
}

impl<T: AsFd> Watched for Shared<T> {
    fn on_ready(&self, poller: &Poller, token: u64) {
        if let Some(waker) = self.waiting.take() {
            self.woken.set(true);
            waker.wake();
        } else {
            // No task waits for it, and the kernel would report it again and again.
            let _ = self.watch(poller, token, Interest::NONE);
        }
    }
}

impl<T: AsFd> Shared<T> {
    /// Tells the kernel if the interest has changed. With no interest the descriptor must be deleted: otherwise the
    /// kernel would still report its errors.
    fn watch(&self, poller: &Poller, token: u64, interest: Interest) -> io::Result<()> {
        let io = self.io.borrow();
        match (self.watched.get(), interest) {
            (before, after) if before == after => {}
            (Interest::NONE, _) => poller.add(&*io, token, interest)?,
            (_, Interest::NONE) => poller.delete(&*io)?,
            _ => poller.modify(&*io, token, interest)?,
        }
        self.watched.set(interest);
        Ok(())
    }
}
