//! The thread pool: for whatever would block the loop.
//!
//! A job goes to the pool through a queue; what is to be called back stays with the loop, under the job's number. When
//! the job is done the pool's thread leaves its result in a cell that both know, adds the number to the list of what is
//! done, and rings the loop's bell. The callback itself never leaves the loop's thread, so it need not be `Send`.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tracing::{trace_span, warn};

use crate::Loop;
use crate::bell::{Bell, Done};
use crate::handle::Callback;
use crate::queue::Queue;

/// Work that has been given to the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkId(u64);

/// Why work has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkError {
    /// It panicked, with this message. The thread goes on to the next job.
    Panicked(String),
    /// It was cancelled before a thread had started it, or there was no thread to be had at all.
    Cancelled,
}

impl fmt::Display for WorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkError::Panicked(message) => write!(f, "the work panicked: {message}"),
            WorkError::Cancelled => write!(f, "the work was cancelled"),
        }
    }
}

impl Error for WorkError {}

/// How many threads the pool has, unless [`Loop::set_pool_threads`] says otherwise: as many as libuv's.
pub const POOL_THREADS: usize = 4;

struct Job {
    id: WorkId,
    run: Box<dyn FnOnce() + Send>,
}

/// The loop's side of the pool.
pub(crate) struct Work<S> {
    last_id: u64,
    /// What to call when the work of that number comes back.
    after: HashMap<WorkId, Callback<S>>,
    queue: Arc<Queue<Job>>,
    done: Arc<Done<WorkId>>,
    threads: usize,
    started: usize,
    /// Whether the log knows already that there are fewer threads than there should be.
    warned: bool,
}

impl<S> Work<S> {
    pub(crate) fn new(bell: Bell) -> Self {
        Work {
            last_id: 0,
            after: HashMap::new(),
            queue: Arc::new(Queue::new()),
            done: Arc::new(Done::new(bell)),
            threads: POOL_THREADS,
            started: 0,
            warned: false,
        }
    }

    /// Work that has been queued and not been called back.
    pub(crate) fn len(&self) -> usize {
        self.after.len()
    }

    /// Starts the threads that are missing. With fewer than asked for the pool is slower; with none there is no pool.
    fn start_threads(&mut self) {
        while self.started < self.threads {
            let queue = Arc::clone(&self.queue);
            let done = Arc::clone(&self.done);
            let worker = move || {
                while let Some(job) = queue.pop() {
                    trace_span!("work").in_scope(job.run);
                    done.add(job.id);
                }
            };
            let name = format!("pool-{}", self.started + 1);
            if let Err(error) = thread::Builder::new().name(name).spawn(worker) {
                if !mem::replace(&mut self.warned, true) {
                    warn!("the pool has {} of {} threads: {error}", self.started, self.threads);
                }
                return;
            }
            self.started += 1;
        }
    }
}

/// Jobs that nobody has started are dropped. One that runs is not waited for: nobody is left to hear of it.
impl<S> Drop for Work<S> {
    fn drop(&mut self) {
        self.queue.close();
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
        self.work.last_id += 1;
        let id = WorkId(self.work.last_id);
        // Filled by the pool's thread; still empty when the work is called back if it was never started.
        let cell = Arc::new(Mutex::new(None));
        let result = Arc::clone(&cell);
        let run = Box::new(move || {
            let outcome = catch_unwind(AssertUnwindSafe(work)).map_err(message_of);
            *cell.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        });
        let after = Box::new(move |lp: &mut Loop<S>, state: &mut S| {
            let outcome = result.lock().unwrap_or_else(PoisonError::into_inner).take();
            let outcome = outcome.unwrap_or(Err(WorkError::Cancelled));
            trace_span!("after_work").in_scope(|| after(lp, state, outcome));
        });
        self.work.after.insert(id, after);
        self.work.queue.push(Job { id, run });
        self.work.start_threads();
        if self.work.started == 0 {
            self.cancel(id);
        }
        id
    }

    /// Cancels work that no thread has started; whether it did. Its `after` is then called with
    /// [`WorkError::Cancelled`]. Work that runs cannot be stopped: no thread can be made to stop from outside.
    pub fn cancel(&mut self, id: WorkId) -> bool {
        if self.work.queue.remove(|job| job.id == id).is_none() {
            return false;
        }
        if let Some(after) = self.work.after.remove(&id) {
            self.pending.push_back(after);
        }
        true
    }

    /// How many threads the pool has. Set it before the first work; threads that have been started stay.
    pub fn set_pool_threads(&mut self, threads: usize) {
        self.work.threads = threads.max(1);
    }

    pub(crate) fn run_work_completions(&mut self, state: &mut S) {
        for id in self.work.done.take() {
            if let Some(after) = self.work.after.remove(&id) {
                after(self, state);
            }
        }
    }
}

/// What a panic says, if it says it as most do, in a string.
fn message_of(panic: Box<dyn std::any::Any + Send>) -> WorkError {
    let message = match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => match panic.downcast::<&str>() {
            Ok(message) => (*message).to_owned(),
            Err(panic) => {
                mem::forget(panic); // to drop it might panic again, and end the pool's thread
                "no message".to_owned()
            }
        },
    };
    WorkError::Panicked(message)
}
