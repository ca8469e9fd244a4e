//! `--spam N`: what N threads cost that do nothing but exist.

use std::process::{self, ExitCode};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{panic, thread};

/// How many threads run, asleep.
static ASLEEP: AtomicU32 = AtomicU32::new(0);

/// Ends the process with what was in the way first: a second thread may fail at the same moment.
fn fail(error: &str) -> ! {
    static FIRST: Once = Once::new();
    FIRST.call_once(|| {
        eprintln!("error: {error}");
        process::exit(1)
    });
    // Another thread is ending the process.
    loop {
        thread::park();
    }
}

/// Starts the threads and prints the cost of each. They end with the process.
pub(crate) fn run(threads: u32) -> ExitCode {
    // A thread that finds no memory for its signal stack panics inside std, where no `Result` leads back to us. The
    // hook is the last chance to say so: without memory the panic itself may fail, and std then aborts with its own words.
    panic::set_hook(Box::new(move |_| {
        let asleep = ASLEEP.load(Ordering::Relaxed);
        fail(&format!("no memory for the signal stacks of {threads} threads, only of {asleep}"));
    }));
    let before = Memory::now();
    let started = Instant::now();
    for number in 1..=threads {
        if let Err(error) = thread::Builder::new().spawn(sleep_on) {
            fail(&format!("no thread {number}: {}", server::describe(&error)));
        }
    }
    while ASLEEP.load(Ordering::Relaxed) < threads {
        thread::sleep(Duration::from_millis(1));
    }
    let elapsed = started.elapsed();
    let s = if threads == 1 { "" } else { "s" };
    println!("{threads} idle thread{s}, started in {elapsed:.1?}: {:.1?} each", elapsed / threads);
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
