//! `--spam N`: what N threads cost that do nothing but exist.

use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

/// Starts the threads, prints the cost of each, and lets them go.
pub(crate) fn run(threads: u64) -> ExitCode {
    let before = Memory::now();
    let started = Instant::now();
    // Every thread sleeps here, and so does this one once it has read the figures: then all may end.
    let barrier = Arc::new(Barrier::new(threads as usize + 1));
    for number in 1..=threads {
        let barrier = Arc::clone(&barrier);
        if let Err(error) = thread::Builder::new().spawn(move || barrier.wait()) {
            eprintln!("error: no thread {number}: {}", server::describe(&error));
            return ExitCode::FAILURE;
        }
    }
    let elapsed = started.elapsed();
    println!(
        "{threads} idle threads, started in {elapsed:.1?}: {:.1?} each",
        elapsed / threads as u32
    );
    match (before, Memory::now()) {
        (Some(before), Some(after)) => {
            let each =
                |before: u64, after: u64| after.saturating_sub(before) as f64 / threads as f64;
            println!(
                "  reserved (virtual)  {:8.1} KiB each",
                each(before.reserved, after.reserved)
            );
            println!(
                "  touched (resident)  {:8.1} KiB each",
                each(before.resident, after.resident)
            );
            println!(
                "  page tables         {:8.1} KiB each",
                each(before.page_tables, after.page_tables)
            );
        }
        _ => println!("  their memory: this system has no /proc/self/status; ask ps or top"),
    }
    barrier.wait();
    ExitCode::SUCCESS
}

/// What the kernel keeps for this process, in KiB: proc_pid_status(5).
struct Memory {
    reserved: u64,
    resident: u64,
    page_tables: u64,
}

impl Memory {
    fn now() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let kibibytes = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        Some(Memory {
            reserved: kibibytes("VmSize:")?,
            resident: kibibytes("VmRSS:")?,
            page_tables: kibibytes("VmPTE:")?,
        })
    }
}
