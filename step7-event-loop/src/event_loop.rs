//! The loop itself: what it owns, and one turn of it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use step6_epoll_kqueue::{Event, Interest, Poller};

use crate::handle::{Callback, Handle};
use crate::slab::{Key, Slab};
use crate::timer::Timers;
use crate::wakeup::Wakeups;
use crate::work::Work;

/// An event loop. It belongs to one thread, and so does everything that is called from it.
///
/// `S` is the program's state. [`Loop::run`] borrows it, and every callback gets it, so that callbacks can share it; what a
/// callback needs for itself alone it captures. A program that shares nothing runs its loop with `&mut ()`.
///
/// One turn, each phase a line of [`Loop::run_once`]:
///
/// 1. **Update the time.** All timers of a turn go by the same instant, [`Loop::now`].
/// 2. **Due timers**, in the order in which they were due.
/// 3. **Pending callbacks**: completions of writes, and what was cancelled.
/// 4. **Poll for I/O**: sleep until a descriptor is ready, but not beyond the next timer; then call back for each that
///    is: connections, reads, signals, wakeups.
/// 5. **Work completions**: `after` callbacks of work that the pool has done.
/// 6. **Closing callbacks**: those of writes that a close has cut off.
///
/// (libuv had the timers in this place too. Since 1.45 it runs them after the poll.)
///
/// No callback is ever called from inside the function that asks for it. So a program that calls `write` or `close` need
/// not wonder what has changed by the time it returns.
pub struct Loop<S> {
    pub(crate) now: Instant,
    pub(crate) poller: Poller,
    pub(crate) handles: Slab<Handle<S>>,
    pub(crate) timers: Timers<S>,
    pub(crate) pending: VecDeque<Callback<S>>,
    pub(crate) closing: VecDeque<Callback<S>>,
    pub(crate) work: Work<S>,
    pub(crate) wakeups: Wakeups<S>,
    /// Where reads land; lent to the callback for as long as it runs.
    pub(crate) buffer: Vec<u8>,
    /// Why a listener is of no use any more.
    pub(crate) failure: Option<io::Error>,
    events: Vec<Event>,
    stopped: bool,
    running: bool,
}

/// The wakeup's token. No handle's key makes it: that slot would be the four thousand millionth.
const WAKEUP: u64 = u64::MAX;

/// The most that one read takes: 64 KiB.
const BUFFER: usize = 64 * 1024;

impl<S: 'static> Loop<S> {
    /// A loop with nothing in it. Its thread pool starts with the first work.
    ///
    /// # Errors
    /// No descriptor is left for the poller or the wakeup.
    pub fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        let wakeups = Wakeups::new()?;
        poller.add(&wakeups, WAKEUP, Interest::READ)?;
        let work = Work::new(wakeups.bell().clone());
        Ok(Loop {
            now: Instant::now(),
            poller,
            handles: Slab::new(),
            timers: Timers::new(),
            pending: VecDeque::new(),
            closing: VecDeque::new(),
            work,
            wakeups,
            buffer: vec![0; BUFFER],
            failure: None,
            events: Vec::new(),
            stopped: false,
            running: false,
        })
    }

    /// Takes turns until nothing is left that could ever call back, or until [`Loop::stop`].
    ///
    /// # Errors
    /// The poller fails; a listener fails, which is its end; or the loop runs already, and a callback tries to run it again.
    pub fn run(&mut self, state: &mut S) -> io::Result<()> {
        let mut alive = self.begin()?;
        while alive && !self.stopped {
            alive = self.turn(state, None)?;
        }
        self.stopped = false;
        Ok(())
    }

    /// Takes one turn, sleeping for I/O if nothing is due, and calls the timers that came due meanwhile: a turn that slept
    /// for a timer has made progress (libuv's `UV_RUN_ONCE` does so too). Whether there is a reason for another.
    ///
    /// # Errors
    /// As [`Loop::run`].
    pub fn run_once(&mut self, state: &mut S) -> io::Result<bool> {
        self.begin()?;
        self.turn(state, None)?;
        self.running = true;
        self.update_time();
        self.run_due_timers(state);
        self.running = false;
        self.stopped = false;
        Ok(self.is_alive())
    }

    /// Takes one turn without sleeping; whether there is a reason for another.
    ///
    /// # Errors
    /// As [`Loop::run`].
    pub fn run_nowait(&mut self, state: &mut S) -> io::Result<bool> {
        self.begin()?;
        let alive = self.turn(state, Some(Duration::ZERO))?;
        self.stopped = false;
        Ok(alive)
    }

    /// Whether there is anything to run, if this is not a callback of a loop that runs already.
    fn begin(&self) -> io::Result<bool> {
        if self.running {
            return Err(io::Error::other("the loop runs already: a callback cannot run it again"));
        }
        Ok(self.is_alive())
    }

    fn turn(&mut self, state: &mut S, longest_sleep: Option<Duration>) -> io::Result<bool> {
        self.running = true;
        self.update_time();
        self.run_due_timers(state);
        self.run_pending(state);
        let polled = self.poll(state, longest_sleep);
        self.run_work_completions(state);
        self.run_closing(state);
        self.running = false;
        polled?;
        self.failure.take().map_or(Ok(self.is_alive()), Err)
    }

    /// Has [`Loop::run`] return at the end of this turn, which no longer sleeps. Everything stays as it is; the loop can
    /// be run again.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// The time as of the beginning of this turn. Timers count from it.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whether anything may still call back: an open handle, a timer, work that has not come back, a callback that is
    /// yet to be called.
    pub fn is_alive(&self) -> bool {
        let handles = self.handles.len() + self.timers.len() + self.wakeups.len();
        let requests = self.work.len() + self.pending.len() + self.closing.len();
        handles + requests > 0
    }

    /// Takes a handle in, and has the poller report when it is readable.
    pub(crate) fn watch(&mut self, handle: Handle<S>) -> io::Result<Key> {
        let key = self.handles.insert(handle);
        let handle = self.handles.get(key).map(|handle| handle.as_fd());
        let watched = handle.map(|handle| self.poller.add(handle, key.to_token(), Interest::READ));
        match watched {
            Some(Err(error)) => {
                self.handles.remove(key);
                Err(error)
            }
            _ => Ok(key),
        }
    }

    fn update_time(&mut self) {
        self.now = Instant::now();
    }

    // A callback that is added meanwhile waits for the next turn. So do those of the other phases.
    fn run_pending(&mut self, state: &mut S) {
        for callback in mem::take(&mut self.pending) {
            callback(self, state);
        }
    }

    fn poll(&mut self, state: &mut S, longest_sleep: Option<Duration>) -> io::Result<()> {
        let at_once = self.stopped
            || !self.pending.is_empty()
            || !self.closing.is_empty()
            || !self.is_alive();
        let next_timer =
            self.timers.next_due().map(|due| due.saturating_duration_since(Instant::now()));
        let timeout = if at_once { Some(Duration::ZERO) } else { longest_sleep.or(next_timer) };

        let mut events = mem::take(&mut self.events);
        self.poller.wait(&mut events, timeout)?;
        self.update_time();
        for event in &events {
            self.on_event(state, event);
        }
        self.events = events;
        Ok(())
    }

    /// The handle may be gone: closed by a callback earlier in this batch. Then its key finds nothing.
    fn on_event(&mut self, state: &mut S, event: &Event) {
        if event.token == WAKEUP {
            self.wakeups.bell().hear();
            self.run_wakeups(state);
            return;
        }
        let key = Key::from_token(event.token);
        match self.handles.get(key) {
            Some(Handle::Listener(_)) => self.on_listener_ready(state, key),
            Some(Handle::Stream(_)) => self.on_stream_ready(state, key, event),
            Some(Handle::Signal(_)) => self.on_signal_ready(state, key),
            None => {}
        }
    }

    fn run_closing(&mut self, state: &mut S) {
        for callback in mem::take(&mut self.closing) {
            callback(self, state);
        }
    }
}

impl<S> fmt::Debug for Loop<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loop")
            .field("handles", &self.handles.len())
            .field("timers", &self.timers.len())
            .field("work", &self.work.len())
            .finish_non_exhaustive()
    }
}
