//! Two threads add one to the same number, again and again. Adding is three steps: read, add, write. If both threads
//! read before either writes, one of the two additions is lost (`--mode read-then-write`). The cure: make the three
//! steps one, by an instruction of the processor (`atomic`) or by a lock (`mutex`).
//!
//! `cargo run --release -p threads --example lost-update -- --mode read-then-write`

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use clap::{Parser, ValueEnum};

/// Counts to twenty million with two threads
#[derive(Parser)]
struct Arguments {
    /// How a thread adds one
    #[arg(long, value_enum, default_value_t = Mode::ReadThenWrite)]
    mode: Mode,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// It reads, adds, and writes
    ReadThenWrite,
    /// By one instruction
    Atomic,
    /// Under a lock
    Mutex,
}

const EACH: u64 = 10_000_000;

fn main() {
    let mode = Arguments::parse().mode;
    let (number, lock) = (AtomicU64::new(0), Mutex::new(()));
    let start = Barrier::new(2);
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..EACH {
                    add_one(mode, &number, &lock);
                }
            });
        }
    });
    let found = number.into_inner();
    println!("expected {}, found {found}: {} are lost", 2 * EACH, 2 * EACH - found);
    println!("it took {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
}

/// The number is an atomic in all modes. A plain number would not compile: if one thread writes a variable, rustc does
/// not let two threads share it. But two calls together are not atomic.
fn add_one(mode: Mode, number: &AtomicU64, lock: &Mutex<()>) {
    let read_then_write = || {
        let read = number.load(Ordering::Relaxed);
        number.store(read + 1, Ordering::Relaxed);
    };
    match mode {
        Mode::ReadThenWrite => read_then_write(),
        Mode::Atomic => {
            number.fetch_add(1, Ordering::Relaxed);
        }
        Mode::Mutex => {
            let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
            read_then_write();
        }
    }
}
