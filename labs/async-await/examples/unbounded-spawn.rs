//! A task costs little, but it may hold much. A server that spawns a task for every request (`--mode unbounded`) lets
//! its clients decide how much memory it needs. The cure: take a permit of a semaphore before you spawn (`limited`).
//! While no permit is left the server takes no more requests, and the clients have to wait: backpressure.
//!
//! `cargo run --release -p async-await --example unbounded-spawn -- --mode unbounded`

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{fs, io};

use async_await::{Semaphore, block_on, channel, sleep, spawn};
use clap::{Parser, ValueEnum};

/// Serves very many requests, and says how much memory that took
#[derive(Parser)]
struct Arguments {
    /// How many requests are served at once
    #[arg(long, value_enum, default_value_t = Mode::Unbounded)]
    mode: Mode,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// All
    Unbounded,
    /// A hundred: that is the number of permits
    Limited,
}

const REQUESTS: usize = 20_000;
const PERMITS: usize = 100;
const BUFFER: usize = 4096;
const WORK: Duration = Duration::from_millis(10);

fn main() -> io::Result<()> {
    let mode = Arguments::parse().mode;
    block_on(async move {
        let started = Instant::now();
        let most = serve_all(mode).await;
        println!("{REQUESTS} requests took {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
        println!("the most tasks at once: {most}");
        match peak_memory() {
            Some(kibibytes) => println!("the most memory: {kibibytes} KiB"),
            None => println!("the most memory: this system does not say"),
        }
    })
}

/// Spawns a task for each request. Returns how many there were at most.
async fn serve_all(mode: Mode) -> usize {
    let permits = Semaphore::new(PERMITS);
    let tasks = Rc::new(());
    let (running, mut all_have_ended) = channel::<()>(1);
    let mut most = 0;
    for _ in 0..REQUESTS {
        let permit = match mode {
            Mode::Unbounded => None,
            Mode::Limited => Some(permits.acquire().await),
        };
        let held = (permit, running.clone(), Rc::clone(&tasks));
        spawn(async move {
            serve().await;
            drop(held);
        });
        most = most.max(Rc::strong_count(&tasks) - 1); // one is ours
    }
    drop(running);
    all_have_ended.recv().await; // no task sends: this returns when no task holds a sender any more
    most
}

async fn serve() {
    let buffer = vec![1_u8; BUFFER]; // written to: before that the kernel gives no memory
    sleep(WORK).await;
    black_box(&buffer);
}

/// The most memory that this process has had resident, in KiB. Linux only.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
