//! `--spam N`: what N threads cost that do nothing but exist.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{panic, thread};

/// How many threads run, asleep.
static ASLEEP: AtomicU32 = AtomicU32::new(0);

/// Whether a thread has died on its way there.
static DEAD: AtomicBool = AtomicBool::new(false);

/// Starts the threads and prints the cost of each. They end with the process.
pub(crate) fn run(threads: u32) -> ExitCode {
    // A thread that finds no memory for its signal stack panics inside std, where no `Result` leads back to us.
    panic::set_hook(Box::new(|_| DEAD.store(true, Ordering::Relaxed)));
    let before = Memory::now();
    let started = Instant::now();
    for number in 1..=threads {
        if let Err(error) = thread::Builder::new().spawn(sleep_on) {
            eprintln!("error: no thread {number}: {}", server::describe(&error));
            return ExitCode::FAILURE;
        }
    }
    while ASLEEP.load(Ordering::Relaxed) < threads {
        if DEAD.load(Ordering::Relaxed) {
            eprintln!("error: of {threads} threads not all found memory for their signal stacks");
            return ExitCode::FAILURE;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let elapsed = started.elapsed();
    println!("{threads} idle threads, started in {elapsed:.1?}: {:.1?} each", elapsed / threads);
    match (before, Memory::now()) {
        (Some(before), Some(after)) => {
            let each =
                |before: u64, after: u64| after.saturating_sub(before) as f64 / f64::from(threads);
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
    ExitCode::SUCCESS
}

fn sleep_on() {
    ASLEEP.fetch_add(1, Ordering::Relaxed);
    loop {
        thread::park();
    }
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
