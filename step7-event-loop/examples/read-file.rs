//! Reads a file through the pool, a piece at a time, while a timer ticks beside it.
//!
//! `cargo run --release -p step7-event-loop --example read-file -- FILE`

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use step7_event_loop::Loop;

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
    lp.timer_start(TICK, Some(TICK), move |lp, _, timer| {
        ticks += 1;
        worst = worst.max(due.elapsed());
        due = lp.timer_due(timer).unwrap_or(due);
        println!("tick {ticks}, the worst so far {:.1} ms late", worst.as_secs_f64() * 1e3);
    });
    let path = arguments.file.clone();
    let options = OpenOptions::new().read(true).clone();
    lp.fs_open(&arguments.file, &options, move |lp, reading: &mut Reading, opened| match opened {
        Ok(file) => read_on(lp, reading, file),
        Err(error) => {
            reading.outcome = Err(io::Error::other(format!("{}: {error}", path.display())));
            lp.stop();
        }
    });
    let piece = arguments.piece as usize;
    let mut reading =
        Reading { piece, offset: 0, sum: 0, started: Instant::now(), outcome: Ok(()) };
    lp.run(&mut reading)?;
    reading.outcome
}

/// The loop's state: what every callback can see.
struct Reading {
    piece: usize,
    offset: u64,
    sum: u64,
    started: Instant,
    outcome: io::Result<()>,
}

/// Asks for the next piece, and from its callback for the one after. One request is under way at any time.
fn read_on(lp: &mut Loop<Reading>, reading: &mut Reading, file: Arc<File>) {
    let (offset, piece) = (reading.offset, reading.piece);
    lp.fs_read_at(&Arc::clone(&file), offset, piece, move |lp, reading, read| match read {
        Ok(bytes) if !bytes.is_empty() => {
            reading.offset += bytes.len() as u64;
            reading.sum += bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
            read_on(lp, reading, file);
        }
        Ok(_) => {
            let Reading { offset, sum, started, .. } = reading;
            println!("{offset} bytes, sum {sum}, in {:.1?}", started.elapsed());
            lp.stop();
        }
        Err(error) => {
            reading.outcome = Err(io::Error::other(format!("after {offset} bytes: {error}")));
            lp.stop();
        }
    });
}
