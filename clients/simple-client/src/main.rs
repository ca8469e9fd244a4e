//! `simple-client HOST PORT [-n N]`: see the library.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use chrono::Local;
use clap::Parser;
use simple_client::{Event, Options, Report, text};

#[derive(Parser)]
#[command(
    about = "Opens N scripted connections at once, checks every reply, prints how long it took"
)]
struct Arguments {
    /// The server's name or address
    host: String,

    /// The server's port
    port: u16,

    /// How many connections, all at once
    #[arg(short = 'n', value_name = "N", default_value_t = 1, value_parser = connections)]
    connections: usize,

    /// Multiply the script's pauses (1 s, 1 s and 0.2 s) by this
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = client::factor)]
    delay: f64,

    /// How long the server may be silent when it should be answering: 10s, 500ms, or a number of seconds
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = client::duration(Duration::from_millis(1), Duration::from_secs(86_400)))]
    timeout: Duration,

    /// Print the times of each connection as one JSON object instead of `Elapsed:`
    #[arg(long)]
    json: bool,

    /// Write what each connection did when, as Chrome trace events (open it in Perfetto)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Log nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let failures = run(&arguments).unwrap_or_else(|error| vec![error.to_string()]);
    for failure in &failures {
        let _ = writeln!(io::stderr(), "error: {failure}");
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the connections and prints what they took; returns what went wrong with them.
fn run(arguments: &Arguments) -> io::Result<Vec<String>> {
    client::raise_descriptor_limit()?;
    let mut options = Options::new(&arguments.host, arguments.port)?;
    options.connections = arguments.connections;
    options.delay = arguments.delay;
    options.timeout = arguments.timeout;
    let report = simple_client::run(&options, |connection, event| {
        if !arguments.quiet {
            log(connection, event);
        }
    });

    let mut failures = report.failures();
    let printed = if arguments.json {
        writeln!(io::stdout(), "{}", serde_json::json!(report))
    } else {
        writeln!(io::stdout(), "Elapsed: {:?}", report.elapsed)
    };
    if let Err(error) = client::printed(printed) {
        failures.push(format!("cannot write the times: {}", client::describe(&error)));
    }
    if let Some(path) = &arguments.trace
        && let Err(error) = write_trace(&report, path)
    {
        failures.push(format!("cannot write {}: {error}", path.display()));
    }
    Ok(failures)
}

/// One line as Python's logging writes it.
fn log(connection: usize, event: Event<'_>) {
    if let Some(message) = text::message(connection, event) {
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
