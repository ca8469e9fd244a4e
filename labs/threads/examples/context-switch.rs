//! What a context switch costs: two threads pass a byte to and fro through two pipes, so that each can go on only when
//! the other sleeps. For comparison: a function call, a lock without contention, and a system call that does nothing.
//!
//! `cargo run --release -p threads --example context-switch`; on Linux `--one-core` keeps both threads on one core.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use clap::Parser;
use nix::sys::resource::{UsageWho, getrusage};

/// Measures what a context switch costs, and what a call, a lock and a system call cost
#[derive(Parser)]
struct Arguments {
    /// Keep both threads on one core (Linux)
    #[arg(long)]
    one_core: bool,
}

const ROUNDS: u32 = 50_000;
const CALLS: u32 = 10_000_000;

fn main() -> io::Result<()> {
    if Arguments::parse().one_core {
        stay_on_one_core()?;
    }
    let before = switches()?;
    let round_trip = ping_pong()?;
    let made = switches()? - before;
    println!("a byte there and back:     {:>8.1} ns", round_trip);
    println!("  context switches:        {:>8.2} for each", made as f64 / f64::from(ROUNDS));

    let lock = Mutex::new(0_u64);
    let mut number = 0;
    println!("a function call:           {:>8.1} ns", each(|| number = add_one(black_box(number))));
    let add_under_lock = || *lock.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    println!("a lock that nobody holds:  {:>8.1} ns", each(add_under_lock));
    println!("a system call (getppid):   {:>8.1} ns", each(ask_the_kernel));
    Ok(())
}

/// How long a round trip takes, in nanoseconds.
fn ping_pong() -> io::Result<f64> {
    let (mut their_input, mut there) = io::pipe()?;
    let (mut our_input, mut back) = io::pipe()?;
    let echo = thread::spawn(move || -> io::Result<()> {
        for _ in 0..ROUNDS {
            their_input.read_exact(&mut [0])?;
            back.write_all(&[1])?;
        }
        Ok(())
    });
    let started = Instant::now();
    for _ in 0..ROUNDS {
        there.write_all(&[1])?;
        our_input.read_exact(&mut [0])?;
    }
    let took = started.elapsed();
    echo.join().map_err(|_| io::Error::other("the other thread panicked"))??;
    Ok(took.as_nanos() as f64 / f64::from(ROUNDS))
}

#[inline(never)]
fn add_one(number: u64) -> u64 {
    number + 1
}

/// How long a call takes, in nanoseconds.
fn each(mut call: impl FnMut()) -> f64 {
    let started = Instant::now();
    for _ in 0..CALLS {
        call();
        black_box(());
    }
    started.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

fn ask_the_kernel() {
    let _ = nix::unistd::getppid();
}

/// How often the kernel took a core from a thread of this process, because the thread slept or because another thread
/// got the core: getrusage(2).
fn switches() -> io::Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(usage.voluntary_context_switches() + usage.involuntary_context_switches())
}

#[cfg(target_os = "linux")]
fn stay_on_one_core() -> io::Result<()> {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;

    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let core = (0..CpuSet::count()).find(|&core| allowed.is_set(core) == Ok(true)).unwrap_or(0);
    let mut one = CpuSet::new();
    one.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &one)?)
}

#[cfg(not(target_os = "linux"))]
fn stay_on_one_core() -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux pins a thread to a core"))
}
