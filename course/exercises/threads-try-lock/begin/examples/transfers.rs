//! Two threads move money between two accounts, each in its own direction. A transfer locks the account that it takes
//! from, looks something up, and locks the other.
//!
//! `cargo run --example transfers`

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{process, thread};

/// How many transfers each thread makes.
const EACH: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(2);

static ACCOUNTS: [Mutex<i64>; 2] = [Mutex::new(1000), Mutex::new(1000)];
/// How many transfers are done.
static DONE: AtomicU64 = AtomicU64::new(0);
/// How often a thread gave its first account back because the second was taken.
static GIVEN_BACK: AtomicU64 = AtomicU64::new(0);

fn main() {
    for (from, to, amount) in [(0, 1, 1), (1, 0, 2)] {
        thread::spawn(move || (0..EACH).for_each(|_| transfer(from, to, amount)));
    }
    wait_until_done();
    let (done, given_back) = (DONE.load(Ordering::Relaxed), GIVEN_BACK.load(Ordering::Relaxed));
    let [first, second] = [0, 1].map(|account| *lock(account));
    println!("{done} transfers, {given_back} times given back; the accounts: {first} and {second}");
}

/// Moves money between two accounts, with both of them locked.
fn transfer(from: usize, to: usize, amount: i64) {
    let mut giver = lock(from);
    look_up();
    let mut taker = lock(to);
    *giver -= amount;
    *taker += amount;
    DONE.fetch_add(1, Ordering::Relaxed);
}

/// Something that takes a while, for example a question to a database.
fn look_up() {
    thread::sleep(Duration::from_millis(1));
}

fn lock(account: usize) -> MutexGuard<'static, i64> {
    ACCOUNTS[account].lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns when all transfers are done. If nothing moves for two seconds, it says so and ends the process.
fn wait_until_done() {
    let mut moved = Instant::now();
    let (mut done, mut given_back) = (0, 0);
    while done < 2 * EACH {
        thread::sleep(Duration::from_millis(5));
        let now_done = DONE.load(Ordering::Relaxed);
        let now_given_back = GIVEN_BACK.load(Ordering::Relaxed);
        if now_done > done {
            (moved, done, given_back) = (Instant::now(), now_done, now_given_back);
        } else if moved.elapsed() >= PATIENCE {
            let word = if now_given_back > given_back { "a livelock" } else { "a deadlock" };
            println!("{done} transfers, and nothing has moved for {PATIENCE:?}: {word}");
            process::exit(1);
        }
    }
}
