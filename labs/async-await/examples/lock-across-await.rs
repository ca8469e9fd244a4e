//! A task sleeps at `.await` while it has a mutex locked (`--mode held`). The next task that locks it puts the thread
//! to sleep, and the first task needs this thread to unlock it: a deadlock. The cure: unlock before `.await`, if other
//! tasks may come in between (`released`); if not, a lock that is awaited: a semaphore of one permit (`permit`).
//!
//! `cargo run --release -p async-await --example lock-across-await -- --mode held`

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, process, thread};

use async_await::{JoinError, Semaphore, block_on, sleep, spawn};
use clap::{Parser, ValueEnum};

/// Two tasks do two steps each, and sleep between them
#[derive(Parser)]
struct Arguments {
    /// What a task has locked while it sleeps
    #[arg(long, value_enum, default_value_t = Mode::Held)]
    mode: Mode,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// The mutex
    Held,
    /// Nothing: the other task comes in between
    Released,
    /// A semaphore, for which the other task waits at `.await`
    Permit,
}

const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(1);

/// How many lines have been printed.
type Lines = Mutex<u32>;

fn main() -> io::Result<()> {
    let mode = Arguments::parse().mode;
    let lines = Arc::new(Lines::new(0));
    let (running, ended) = mpsc::channel();
    let watched = Arc::clone(&lines);
    thread::Builder::new().spawn(move || watch(&watched, &ended))?;

    let started = Instant::now();
    block_on(run(mode, lines))??;
    println!("both tasks took {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    drop(running);
    Ok(())
}

async fn run(mode: Mode, lines: Arc<Lines>) -> Result<(), JoinError> {
    let turn = Semaphore::new(1);
    let tasks = ["task A", "task B"].map(|name| {
        let (lines, turn) = (Arc::clone(&lines), turn.clone());
        spawn(async move {
            match mode {
                Mode::Held => held(name, &lines).await,
                Mode::Released => released(name, &lines).await,
                Mode::Permit => permit(name, &lines, &turn).await,
            }
        })
    });
    for task in tasks {
        task.await?;
    }
    Ok(())
}

#[allow(clippy::await_holding_lock)] // without this line clippy would warn
async fn held(name: &str, lines: &Lines) {
    let mut lines = lock(lines);
    print(&mut lines, name, "the first step");
    sleep(PAUSE).await;
    print(&mut lines, name, "the second step");
}

async fn released(name: &str, lines: &Lines) {
    print(&mut lock(lines), name, "the first step");
    sleep(PAUSE).await;
    print(&mut lock(lines), name, "the second step");
}

async fn permit(name: &str, lines: &Lines, turn: &Semaphore) {
    let _permit = turn.acquire().await;
    released(name, lines).await;
}

fn print(lines: &mut u32, name: &str, text: &str) {
    *lines += 1;
    println!("{lines}. {name}: {text}");
}

fn lock(lines: &Lines) -> MutexGuard<'_, u32> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the process if the tasks do not end in time. The executor cannot: its thread may be the one that sleeps.
fn watch(lines: &Lines, ended: &mpsc::Receiver<()>) {
    if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        let state =
            if lines.try_lock().is_err() { "is locked: a deadlock" } else { "is not locked" };
        println!("the tasks have not ended after {PATIENCE:?}, and the mutex {state}");
        process::exit(0);
    }
}
