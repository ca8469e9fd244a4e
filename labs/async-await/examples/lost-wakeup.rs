//! A future waits for a flag that another thread sets. If it checks the flag and then leaves its waker (`--mode
//! check-then-register`), the flag may be set in between: the other thread finds no waker, and the task sleeps for
//! ever. The cure: leave the waker, then check (`register-then-check`). Here barriers make the other thread come right
//! after the check. Without barriers that is rare, and a test seldom sees it. loom tries every order and finds it:
//! `tests/models.rs`.
//!
//! `cargo run --release -p async-await --example lost-wakeup -- --mode check-then-register`

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use async_await::{block_on, spawn, timeout};
use clap::{Parser, ValueEnum};

/// Waits for a flag that another thread sets at the worst possible time
#[derive(Parser)]
struct Arguments {
    /// What the future does first
    #[arg(long, value_enum, default_value_t = Mode::CheckThenRegister)]
    mode: Mode,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// It checks the flag
    CheckThenRegister,
    /// It leaves its waker
    RegisterThenCheck,
}

const PATIENCE: Duration = Duration::from_secs(1);

struct Flag {
    set: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// Passed twice: when the flag is to be set, and when it has been.
    gap: Barrier,
}

fn main() -> io::Result<()> {
    let mode = Arguments::parse().mode;
    let flag = Flag { set: AtomicBool::new(false), waker: Mutex::new(None), gap: Barrier::new(2) };
    let flag = Arc::new(flag);
    let setter = Arc::clone(&flag);
    thread::Builder::new().spawn(move || {
        setter.gap.wait();
        setter.set();
        setter.gap.wait();
    })?;
    block_on(async move {
        let waiter = Arc::clone(&flag);
        // The waiter is a task of its own. In this task the timer's wakeup would poll the future too, and hide the bug.
        let task = spawn(async move { waiter.wait(mode).await });
        let ended = timeout(PATIENCE, task).await == Some(Ok(()));
        println!("the flag is set: {}", flag.is_set());
        println!("the task has ended within {PATIENCE:?}: {ended}");
    })
}

impl Flag {
    fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        let waker = self.waker().take();
        println!("the other thread found a waker: {}", waker.is_some());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn wait(&self, mode: Mode) {
        poll_fn(|context| match mode {
            Mode::CheckThenRegister => {
                if self.is_set() {
                    return Poll::Ready(());
                }
                self.have_it_set();
                self.register(context.waker());
                Poll::Pending
            }
            Mode::RegisterThenCheck => {
                self.register(context.waker());
                if self.is_set() {
                    return Poll::Ready(());
                }
                self.have_it_set();
                Poll::Pending
            }
        })
        .await;
    }

    fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    fn register(&self, waker: &Waker) {
        *self.waker() = Some(waker.clone());
    }

    /// Lets the other thread set the flag, at the worst time.
    fn have_it_set(&self) {
        self.gap.wait();
        self.gap.wait();
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
