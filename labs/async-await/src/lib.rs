//! An executor in the open: what stands behind `.await`, built from the poller of step 6 and the pool of step 7.
//!
//! ```
//! use std::time::Duration;
//! use async_await::{block_on, join, sleep, spawn, spawn_blocking};
//!
//! # fn main() -> std::io::Result<()> {
//! let sum = block_on(async {
//!     let factorial = spawn_blocking(|| (1..=20_u64).product::<u64>()); // on a thread of the pool
//!     let answer = spawn(async {
//!         sleep(Duration::from_millis(1)).await; // the task sleeps, the thread does not
//!         42
//!     });
//!     let (factorial, answer) = join(factorial, answer).await;
//!     factorial.unwrap() + answer.unwrap()
//! })?;
//! assert_eq!(sum, 2_432_902_008_176_640_042);
//! # Ok(())
//! # }
//! ```
//!
//! A *future* is something that can be polled: it returns its result, or says that it is pending. A *task* is a future
//! that the executor polls. A future that says "pending" has left the task's *waker* where it will be called. That is
//! the whole contract, and each module is a part of it:
//!
//! | module | what it is | what Tokio calls it |
//! | --- | --- | --- |
//! | `executor` | the tasks, and the loop that polls them: `block_on`, `spawn` | runtime, scheduler |
//! | `run_queue` | which tasks are polled next: what a waker does | run queue, task header |
//! | `reactor` | which task waits for which descriptor | I/O driver, `AsyncFd` |
//! | `timer` | which task waits for what time: `sleep`, `timeout` | time driver |
//! | `net` | `accept`, `read`, `write_all` | `tokio::net` |
//! | `combine` | several futures in one task: `join`, `select` | `join!`, `select!` |
//! | `semaphore`, `channel` | tasks that wait for tasks | `tokio::sync` |
//!
//! Everything happens on one thread. Only wakers, channels, semaphores, join handles and [`spawn_blocking`]'s work may
//! be on other threads.
#![forbid(unsafe_code)]

mod channel;
mod combine;
mod executor;
mod net;
mod reactor;
mod run_queue;
mod semaphore;
mod timer;

/// What `run_queue`, `semaphore` and `channel` are built from. Their model test puts loom's in this place.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
    pub(crate) use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    pub(crate) use step7_event_loop::Pipe;
}

pub use channel::{Receiver, Sender, channel};
pub use combine::{Either, join, select, yield_now};
pub use executor::{JoinHandle, block_on, spawn, spawn_blocking};
pub use net::{Listener, Stream};

pub use semaphore::{Permit, Semaphore};
pub use step7_event_loop::WorkError as JoinError;
pub use timer::{sleep, timeout};
