//! A small libuv: a loop that owns callbacks, timers, and a thread pool for whatever would block.
//!
//! ```
//! use std::time::Duration;
//! use step7_event_loop::Loop;
//!
//! # fn main() -> std::io::Result<()> {
//! let mut lp = Loop::new()?;
//! lp.queue_work(
//!     || (1..=20_u64).product::<u64>(), // on a thread of the pool
//!     |_, _, result| println!("20! is {result:?}"), // on this one
//! );
//! lp.timer_start(Duration::from_millis(1), None, |_, _, _| println!("meanwhile"));
//! lp.run(&mut ())?; // returns when nothing is left to call back
//! # Ok(())
//! # }
//! ```
//!
//! Read [`Loop`] first, it is the order of one turn; then a module for each thing that can call back:
//!
//! | module | what it is | what libuv calls it |
//! | --- | --- | --- |
//! | `event_loop` | the turn | `uv_run` |
//! | `handle` | what the loop keeps of everything below | `uv_handle_t` |
//! | `listen` | listeners | `uv_listen` |
//! | `stream`, `transfer` | connections | `uv_tcp_t`, `uv_stream_t` |
//! | `close` | gentle ends | (the program's care) |
//! | `timer` | timers | `uv_timer_t` |
//! | `work`, `pool`, `queue` | the thread pool | `uv_queue_work` |
//! | `fs` | files, through the pool | `uv_fs_t` |
//! | `wakeup`, `bell`, `pipe` | calls from other threads | `uv_async_t` |
//! | `signal` | signals | `uv_signal_t` |
//! | `slab` | handles that go stale instead of wrong | (pointers, and the program's care) |
//!
//! One rule makes callbacks safe that close, stop or replace anything, themselves included: a callback is taken out of
//! its slot, called with `&mut Loop`, and put back only if its slot still holds the same handle. What a callback keeps
//! between calls it captures; what callbacks share is the loop's state, which each of them is given. There is no user data
//! pointer.
#![forbid(unsafe_code)]

mod bell;
mod close;
mod event_loop;
mod fs;
mod handle;
mod listen;
mod pipe;
mod pool;
mod queue;
mod signal;
mod slab;
mod stream;
mod timer;
mod transfer;
mod wakeup;
mod work;

/// What [`queue`] and [`bell`] are built from. Their model test puts loom's in this place.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
    pub(crate) use std::sync::{Arc, Condvar, Mutex, PoisonError};

    pub(crate) use crate::pipe::Pipe;
}

pub use bell::Waker;
pub use event_loop::Loop;
pub use listen::ListenerId;
pub use pipe::Pipe;
pub use pool::{POOL_THREADS, Pool, WorkError, WorkId, catch};
pub use signal::SignalId;
pub use slab::{Key, Slab};
pub use stream::{HIGH_WATER_MARK, StreamId};
pub use timer::TimerId;
pub use wakeup::WakeupId;
