//! The thread pool: for whatever would block the loop.
//!
//! A job goes to the pool through a queue; what is to be called back stays with the loop, under the job's number. When
//! the job is done the pool's thread leaves its result in a cell that both know, adds the number to the list of what is
//! done, and rings the loop's bell. The callback itself never leaves the loop's thread, so it need not be `Send`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::trace_span;

use crate::Loop;
use crate::bell::{Bell, Done};
use crate::handle::Callback;
use crate::pool::{Pool, WorkError, WorkId, catch};

/// The loop's side of the pool.
pub(crate) struct Work<S> {
    pool: Pool,
    /// What to call when the work of that number comes back.
    after: HashMap<WorkId, Callback<S>>,
    done: Arc<Done<WorkId>>,
}

impl<S> Work<S> {
    pub(crate) fn new(bell: Bell) -> Self {
        let done = Arc::new(Done::new(bell));
        Work { pool: Pool::default(), after: HashMap::new(), done }
    }

    /// Work that has been queued and not been called back.
    pub(crate) fn len(&self) -> usize {
        self.after.len()
    }
}

impl<S: 'static> Loop<S> {
    /// Has the pool run `work`, and calls `after` with its result on the loop's thread.
    ///
    /// Work is started in the order in which it was queued. How it ends is up to the threads: completions may come in
    /// another order.
    pub fn queue_work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        after: impl FnOnce(&mut Loop<S>, &mut S, Result<T, WorkError>) + 'static,
    ) -> WorkId {
        // Filled by the pool's thread; still empty when the work is called back if it was never started.
        let cell = Arc::new(Mutex::new(None));
        let result = Arc::clone(&cell);
        let done = Arc::clone(&self.work.done);
        let id = self.work.pool.submit(move |id| {
            *cell.lock().unwrap_or_else(PoisonError::into_inner) = Some(catch(work));
            done.add(id);
        });
        let after = Box::new(move |lp: &mut Loop<S>, state: &mut S| {
            let outcome = result.lock().unwrap_or_else(PoisonError::into_inner).take();
            let outcome = outcome.unwrap_or(Err(WorkError::Cancelled));
            trace_span!("after_work").in_scope(|| after(lp, state, outcome));
        });
        if self.work.pool.has_threads() {
            self.work.after.insert(id, after);
        } else {
            self.pending.push_back(after);
        }
        id
    }

    /// Cancels work that no thread has started; whether it did. Its `after` is then called with
    /// [`WorkError::Cancelled`]. Work that runs cannot be stopped: no thread can be made to stop from outside.
    pub fn cancel(&mut self, id: WorkId) -> bool {
        if !self.work.pool.cancel(id) {
            return false;
        }
        if let Some(after) = self.work.after.remove(&id) {
            self.pending.push_back(after);
        }
        true
    }

    /// How many threads the pool has. Set it before the first work; threads that have been started stay.
    pub fn set_pool_threads(&mut self, threads: usize) {
        self.work.pool.set_threads(threads);
    }

    pub(crate) fn run_work_completions(&mut self, state: &mut S) {
        for id in self.work.done.take() {
            if let Some(after) = self.work.after.remove(&id) {
                after(self, state);
            }
        }
    }
}
