//! The same work, divided among more and more threads. Up to the number of cores each thread makes it faster. More
//! threads do not: the kernel only takes a core from one thread to give it to another.
//!
//! `cargo run --release -p threads --example more-threads-than-cores`

use std::hint::black_box;
use std::io;
use std::thread;
use std::time::Instant;

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use nix::sys::resource::{UsageWho, getrusage};

/// Divides a calculation among more and more threads
#[derive(Parser)]
struct Arguments {
    /// How many steps the calculation has; the default takes about a second on one core
    #[arg(long, value_name = "N", default_value_t = 640_000_000)]
    steps: u64,
}

fn main() -> io::Result<()> {
    let Arguments { steps } = Arguments::parse();
    let cores = thread::available_parallelism()?;
    println!("{cores} cores");
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["threads", "elapsed", "CPU", "interrupted for another thread"]);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for threads in [1, 2, 4, 16, 64, 256] {
        let (before, started) = (usage()?, Instant::now());
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| compute(steps / threads));
            }
        });
        let (after, elapsed) = (usage()?, started.elapsed());
        table.add_row([
            threads.to_string(),
            format!("{:.2} s", elapsed.as_secs_f64()),
            format!("{:.2} s", after.0 - before.0),
            (after.1 - before.1).to_string(),
        ]);
    }
    println!("{table}");
    Ok(())
}

/// Each step needs the one before.
fn compute(steps: u64) -> u64 {
    (0..steps)
        .fold(1, |state, step| black_box(state ^ step).wrapping_mul(6_364_136_223_846_793_005))
}

/// CPU time in seconds, and how often a thread was interrupted for another: getrusage(2).
fn usage() -> io::Result<(f64, i64)> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu = seconds(usage.user_time()) + seconds(usage.system_time());
    Ok((cpu, usage.involuntary_context_switches()))
}
