//! `simple-client HOST PORT [-n N]`: see the library.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use chrono::Local;
use clap::Parser;
use simple_client::{Event, Options, Report, text};

/// N connections to an echo server of the course, all at once, and how long they took.
#[derive(Parser)]
#[command(about)]
struct Arguments {
    /// The server's name or address
    host: String,

    /// The server's port
    port: u16,

    /// How many connections, all at the same time
    #[arg(short, long = "connections", value_name = "N", default_value_t = 1, value_parser = connections)]
    n: usize,

    /// Scale the pauses between the messages (1 + 1 + 0.2 seconds); 0 is none
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = delay)]
    delay: f64,

    /// Give up when the server owes a reply and is silent for so long; a connection that waits for its greeting gives
    /// up when all are silent
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = timeout)]
    timeout: Duration,

    /// Print everything that was measured as one JSON object on stdout
    #[arg(long)]
    json: bool,

    /// Write what each connection did to FILE as Chrome trace events (open it in Perfetto)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Log nothing
    #[arg(short, long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        host: arguments.host,
        port: arguments.port,
        connections: arguments.n,
        delay: arguments.delay,
        timeout: arguments.timeout,
    };
    let quiet = arguments.quiet;
    let report = simple_client::run(&options, &|event| {
        if !quiet {
            log(&event);
        }
    });

    let mut errors = report.errors();
    if let Some(path) = arguments.trace {
        if let Err(error) = write_trace(&report, &path) {
            errors.push(format!("cannot write {}: {error}", path.display()));
        }
    }
    // A reader of our output who leaves early (`| head`) is no failure of ours.
    let mut stdout = io::stdout();
    if arguments.json {
        let _ = writeln!(stdout, "{}", serde_json::json!(report));
    } else if report.ok {
        let _ = writeln!(stdout, "Elapsed: {:?}", report.elapsed.as_secs_f64());
    }
    for error in &errors {
        let _ = writeln!(io::stderr(), "error: {error}");
    }
    if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One line as Python's logging writes it.
fn log(event: &Event<'_>) {
    if let Some(message) = text::message(event) {
        let line = format!("INFO:{}:{message}\n", Local::now().format("%Y-%m-%d %H:%M:%S,%3f"));
        // One write for the whole line: the connections' threads share stderr.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

fn write_trace(report: &Report, path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    report.write_trace(&mut file)?;
    file.flush()
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(connections @ 1..=10_000) => Ok(connections),
        _ => Err("not a number from 1 to 10000".to_owned()),
    }
}

fn delay(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(delay) if (0.0..=1000.0).contains(&delay) => Ok(delay),
        _ => Err("not a number from 0 to 1000".to_owned()),
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err("not a number of seconds from 0.001 to 86400".to_owned()),
    }
}
