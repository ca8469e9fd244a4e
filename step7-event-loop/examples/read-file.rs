//! Reads a file through the pool, a piece at a time, while a timer ticks beside it.
//!
//! `cargo run --release -p step7-event-loop --example read-file -- FILE`

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use step7_event_loop::{Loop, TimerId};

/// Reads FILE through the pool and says how punctual a timer was meanwhile
#[derive(Parser)]
struct Arguments {
    /// The file
    file: PathBuf,

    /// How much to read at a time, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1..))]
    piece: u32,
}

const TICK: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let mut lp = Loop::new()?;
    let (mut ticks, mut worst, mut due) = (0, Duration::ZERO, Instant::now() + TICK);
    let timer = lp.timer_start(TICK, Some(TICK), move |lp, timer| {
        ticks += 1;
        worst = worst.max(due.elapsed());
        due = lp.timer_due(timer).unwrap_or(due);
        println!("tick {ticks}, the worst so far {:.1} ms late", worst.as_secs_f64() * 1e3);
    });
    let (path, piece) = (arguments.file.clone(), arguments.piece as usize);
    let started = Instant::now();
    let outcome = Rc::new(Cell::new(Ok(())));
    let ended = Rc::clone(&outcome);
    lp.fs_open(&arguments.file, OpenOptions::new().read(true), move |lp, opened| match opened {
        Ok(file) => {
            read_on(lp, file, piece, Progress { offset: 0, sum: 0, started, timer, ended });
        }
        Err(error) => {
            ended.set(Err(io::Error::other(format!("{}: {error}", path.display()))));
            lp.timer_stop(timer);
        }
    });
    lp.run()?;
    outcome.replace(Ok(()))
}

/// What there is to know between two pieces.
struct Progress {
    offset: u64,
    sum: u64,
    started: Instant,
    timer: TimerId,
    /// Where to leave how it ended.
    ended: Rc<Cell<io::Result<()>>>,
}

/// Asks for the next piece, and from its callback for the one after. One request is under way at any time.
fn read_on(lp: &mut Loop, file: Arc<File>, piece: usize, mut progress: Progress) {
    lp.fs_read_at(&Arc::clone(&file), progress.offset, piece, move |lp, read| match read {
        Ok(bytes) if !bytes.is_empty() => {
            progress.offset += bytes.len() as u64;
            progress.sum += bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
            read_on(lp, file, piece, progress);
        }
        outcome => {
            let Progress { offset, sum, started, timer, ended } = progress;
            match outcome {
                Ok(_) => println!("{offset} bytes, sum {sum}, in {:.1?}", started.elapsed()),
                Err(error) => {
                    ended.set(Err(io::Error::other(format!("after {offset} bytes: {error}"))));
                }
            }
            lp.timer_stop(timer);
        }
    });
}
