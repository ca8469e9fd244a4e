//! The threads of the pool, and the queue that they take jobs from. What becomes of a result is the caller's affair: the
//! loop's `after` callbacks are in `work.rs`.

use std::error::Error;
use std::fmt;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use tracing::{trace_span, warn};

use crate::queue::Queue;

/// How many threads the pool has, unless it is told otherwise: as many as libuv's.
pub const POOL_THREADS: usize = 4;

/// Work that has been given to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkId(u64);

/// Why work has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkError {
    /// It panicked, with this message. The thread goes on to the next job.
    Panicked(String),
    /// It was cancelled before a thread had started it, or the pool has no thread at all.
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

impl From<WorkError> for io::Error {
    fn from(error: WorkError) -> Self {
        io::Error::other(error)
    }
}

struct Job {
    id: WorkId,
    run: Box<dyn FnOnce() + Send>,
}

/// Threads for whatever would block a loop. They start with the first job.
pub struct Pool {
    queue: Arc<Queue<Job>>,
    threads: usize,
    started: usize,
    last_id: u64,
    /// Whether the log knows already that there are fewer threads than there should be.
    warned: bool,
}

impl Pool {
    /// A pool of so many threads, one at the least.
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        Pool { queue: Arc::new(Queue::new()), threads, started: 0, last_id: 0, warned: false }
    }

    /// How many threads it is to have. Those that have been started stay.
    pub fn set_threads(&mut self, threads: usize) {
        self.threads = threads.max(1);
    }

    /// Has a thread run `job`, first come first served. The job is told its id. If the system has not a single thread for the
    /// pool, the job is dropped.
    pub fn submit(&mut self, job: impl FnOnce(WorkId) + Send + 'static) -> WorkId {
        self.last_id += 1;
        let id = WorkId(self.last_id);
        self.queue.push(Job { id, run: Box::new(move || job(id)) });
        self.start_threads();
        if !self.has_threads() {
            self.cancel(id);
        }
        id
    }

    /// Takes back a job that no thread has started, and drops it; whether there was one.
    pub fn cancel(&mut self, id: WorkId) -> bool {
        self.queue.remove(|job| job.id == id).is_some()
    }

    /// Whether there is a thread. There is one after the first job, unless the system has no thread left.
    pub fn has_threads(&self) -> bool {
        self.started > 0
    }

    /// Starts the threads that are missing. With fewer threads than asked for the pool is slower; without any there is no pool.
    fn start_threads(&mut self) {
        while self.started < self.threads {
            let queue = Arc::clone(&self.queue);
            let worker = move || {
                while let Some(job) = queue.pop() {
                    // Whatever the job has is dropped in here too, and even that may panic.
                    let _ = catch(|| trace_span!("work").in_scope(job.run));
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

/// One of [`POOL_THREADS`].
impl Default for Pool {
    fn default() -> Self {
        Pool::new(POOL_THREADS)
    }
}

/// Jobs that have not been started are dropped. A job that runs is not waited for: nothing is left that could use its result.
impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// Runs `work`; a panic in it becomes an error.
///
/// # Errors
/// [`WorkError::Panicked`].
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, WorkError> {
    // Nobody sees what the panic may have left half done: all that `work` has is dropped with it.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| WorkError::Panicked(message_of(panic)))
}

/// What a panic says, if it says it as most do, in a string.
fn message_of(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => match panic.downcast::<&str>() {
            Ok(message) => (*message).to_owned(),
            Err(panic) => {
                mem::forget(panic); // to drop it might panic again, and end the pool's thread
                "no message".to_owned()
            }
        },
    }
}
