//! What a process costs and what a thread costs: to create and end one, and to keep one that sleeps.
//!
//! `cargo run --release -p web-server --example processes-and-threads`

use std::fs;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::process::{self, ExitCode};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use comfy_table::{Table, presets};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

/// Measures what a process costs and what a thread costs
#[derive(Parser)]
struct Arguments {
    /// How many of each
    #[arg(short = 'n', value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5000))]
    count: u32,

    /// For the second row: how much memory the forking program has in use, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    memory: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match measure(arguments.count, arguments.memory) {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Each process and each thread adds one to it.
static COUNTER: AtomicU32 = AtomicU32::new(0);

fn measure(count: u32, memory: u32) -> io::Result<Table> {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["", "process", "thread"]);
    let row = |what: String, process: String, thread: String| [what, process, thread];
    let microseconds = |time: Duration| format!("{:.0} µs", time.as_secs_f64() * 1e6);

    let processes = microseconds(time(count, end_a_process)?);
    let counted_by_processes = COUNTER.swap(0, Ordering::Relaxed);
    let threads = microseconds(time(count, end_a_thread)?);
    let counted_by_threads = COUNTER.swap(0, Ordering::Relaxed);
    table.add_row(row("to create and end one".to_owned(), processes, threads));

    // Not zeros: for them the kernel would map one page of its own again and again.
    let in_use = black_box(vec![1_u8; memory as usize * 1024 * 1024]);
    let processes = microseconds(time(count, end_a_process)?);
    let threads = microseconds(time(count, end_a_thread)?);
    drop(in_use);
    table.add_row(row(format!("the same, with {memory} MiB in use"), processes, threads));

    let kibibytes = |memory: Option<u64>| {
        memory.map_or("this system does not say".to_owned(), |kib| format!("{kib} KiB"))
    };
    let (processes, threads) = (sleeping_processes(count)?, sleeping_threads(count)?);
    table.add_row(row(
        "to keep one that sleeps".to_owned(),
        kibibytes(processes),
        kibibytes(threads),
    ));

    let counted = format!("a counter that {count} of them have added one to");
    table.add_row(row(counted, counted_by_processes.to_string(), counted_by_threads.to_string()));
    Ok(table)
}

fn time(count: u32, mut one: impl FnMut() -> io::Result<()>) -> io::Result<Duration> {
    let started = Instant::now();
    (0..count).try_for_each(|_| one())?;
    Ok(started.elapsed() / count)
}

/// Forks a child that does this and ends.
fn in_a_child(work: impl FnOnce()) -> io::Result<Pid> {
    // SAFETY: this process has one thread at every call, so its child may do whatever a process may (fork(2)).
    #[allow(unsafe_code)]
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            work();
            process::exit(0)
        }
    }
}

fn end_a_process() -> io::Result<()> {
    let child = in_a_child(|| _ = COUNTER.fetch_add(1, Ordering::Relaxed))?;
    waitpid(child, None)?;
    Ok(())
}

fn end_a_thread() -> io::Result<()> {
    let thread = thread::Builder::new().spawn(|| COUNTER.fetch_add(1, Ordering::Relaxed))?;
    let _ = thread.join();
    Ok(())
}

/// How much memory one of `count` sleeping children takes, in KiB: its share of the pages (a shared page is divided by
/// the number of processes that share it), and its page tables, which it does not share.
fn sleeping_processes(count: u32) -> io::Result<Option<u64>> {
    let (mut asleep, say_asleep) = io::pipe()?;
    let (until, wake) = io::pipe()?;
    let mut wake = Some(wake);
    let mut children = Vec::new();
    for _ in 0..count {
        let (mut until, mut say_asleep) = (until.try_clone()?, say_asleep.try_clone()?);
        children.push(in_a_child(|| {
            drop(wake.take()); // otherwise the end of the pipe would never come
            let _ = say_asleep.write_all(b"!");
            let _ = until.read(&mut [0]);
        })?);
    }
    asleep.read_exact(&mut vec![0; count as usize])?;
    let memory = |child: &Pid| {
        let share = field(&format!("/proc/{child}/smaps_rollup"), "Pss:")?;
        Some(share + field(&format!("/proc/{child}/status"), "VmPTE:")?)
    };
    let total: Option<u64> = children.iter().map(memory).sum();
    drop(wake);
    for child in children {
        waitpid(child, None)?;
    }
    Ok(total.map(|total| total / u64::from(count)))
}

/// How much memory one of `count` sleeping threads adds to this process, in KiB, including page tables.
fn sleeping_threads(count: u32) -> io::Result<Option<u64>> {
    let memory =
        || Some(field("/proc/self/status", "VmRSS:")? + field("/proc/self/status", "VmPTE:")?);
    let before = memory();
    let all_there = Barrier::new(count as usize + 1);
    let measured = Barrier::new(count as usize + 1);
    let after = thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                all_there.wait();
                measured.wait();
            });
        }
        all_there.wait();
        let after = memory();
        measured.wait();
        after
    });
    Ok(after.zip(before).map(|(after, before)| after.saturating_sub(before) / u64::from(count)))
}

/// Reads a figure from a file in /proc, in KiB.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
