//! The queue between the loop and its pool: jobs in, first come first served, until it is closed. (Modelled, as `bell.rs`
//! is.)

use std::collections::VecDeque;

use crate::sync::{Condvar, Mutex, PoisonError};

/// A first-in-first-out queue that many threads take from.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    not_empty: Condvar,
}

struct State<T> {
    jobs: VecDeque<T>,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let state = State { jobs: VecDeque::new(), closed: false };
        Queue { state: Mutex::new(state), not_empty: Condvar::new() }
    }

    /// Adds a job and wakes one thread for it.
    pub(crate) fn push(&self, job: T) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).jobs.push_back(job);
        self.not_empty.notify_one();
    }

    /// Takes the next job, or sleeps until there is one. Returns `None` when the queue has been closed.
    ///
    /// The lock is released before the job is returned. A worker that held it while it works would be the only one.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            // A thread may wake up and find nothing: another was faster. Hence the loop.
            state = self.not_empty.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes back the first job that has not been started and that `is_meant` says yes to.
    pub(crate) fn remove(&self, is_meant: impl Fn(&T) -> bool) -> Option<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let position = state.jobs.iter().position(is_meant)?;
        state.jobs.remove(position)
    }

    /// Ends every thread that waits or will wait, and drops the jobs that have not been started.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.not_empty.notify_all();
    }
}
