//! A task that computes holds up all the others: the thread can poll the next task only when this poll has returned.
//! `--mode` says who tests a number: the task (`block`), a thread of the pool (`pool`), or the task with pauses in
//! which the others are polled (`yield`). A ticker beside it says how late it was.
//!
//! `cargo run --release -p async-await --example blocking -- --mode block`

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use async_await::{JoinError, block_on, spawn, spawn_blocking, yield_now};
use clap::{Parser, ValueEnum};
use ticker::tick;

#[path = "common/ticker.rs"]
mod ticker;

/// Tests whether a number is prime, and says how late a ticker was meanwhile
#[derive(Parser)]
struct Arguments {
    /// Who tests the number
    #[arg(long, value_enum, default_value_t = Mode::Block)]
    mode: Mode,

    /// The number; a large prime takes longest
    #[arg(long, value_name = "N", default_value_t = 20_000_000_000_000_003)]
    number: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// The task: no other task is polled meanwhile
    Block,
    /// A thread of the pool: the task sleeps meanwhile
    Pool,
    /// The task; after every ten thousand divisions the other tasks are polled
    Yield,
}

fn main() -> io::Result<()> {
    let Arguments { mode, number } = Arguments::parse();
    Ok(block_on(run(mode, number))??)
}

async fn run(mode: Mode, number: u64) -> Result<(), JoinError> {
    let done = Rc::new(Cell::new(false));
    let ticker = spawn(tick(Rc::clone(&done)));
    let started = Instant::now();
    let prime = spawn(test(mode, number)).await??;
    let took = started.elapsed();
    done.set(true);
    let late = ticker.await?;

    println!("{number} is {}", if prime { "prime" } else { "not prime" });
    println!("the computation took {:.1} ms", took.as_secs_f64() * 1e3);
    println!("the ticker was at most {:.1} ms late", late.as_secs_f64() * 1e3);
    Ok(())
}

async fn test(mode: Mode, number: u64) -> Result<bool, JoinError> {
    match mode {
        Mode::Block => Ok(is_prime(number)),
        Mode::Pool => spawn_blocking(move || is_prime(number)).await,
        Mode::Yield => Ok(is_prime_with_pauses(number).await),
    }
}

/// Trial division: right for every number, and slow on purpose.
fn is_prime(number: u64) -> bool {
    for divisor in 2..=number.isqrt() {
        if number.is_multiple_of(divisor) {
            return false;
        }
    }
    number >= 2
}

/// The same, but it gives the thread back now and then.
async fn is_prime_with_pauses(number: u64) -> bool {
    for divisor in 2..=number.isqrt() {
        if number.is_multiple_of(divisor) {
            return false;
        }
        if divisor.is_multiple_of(10_000) {
            yield_now().await;
        }
    }
    number >= 2
}
