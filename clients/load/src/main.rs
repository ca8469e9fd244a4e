//! `load HOST PORT`: see the library for what it does.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser;
use load::attack::{Attack, Endured, Kind, attack};
use load::{Options, Report, run_counted, run_visits};
use serde_json::json;

/// Loads a server with messages, checks every answer, prints throughput and latency
#[derive(Parser)]
struct Arguments {
    /// The server's name or address
    host: String,

    /// The server's port
    port: u16,

    /// How many connections send messages
    #[arg(short, long, value_name = "C", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,

    /// How many more are connected and say nothing
    #[arg(long, value_name = "I", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=20_000))]
    idle: u32,

    /// The payload of a message, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    size: u32,

    /// How long to send, in seconds; 5 unless --messages is given
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    duration: Option<u64>,

    /// Stop after so many messages (and after ten minutes, unless --duration says otherwise)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,

    /// Messages per second, all connections together, whether or not the server keeps up
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,

    /// A new connection for each message: connections per second
    #[arg(long, conflicts_with = "rate")]
    connect: bool,

    /// An attack: all connections say nothing, and stay
    #[arg(long, conflicts_with_all = ["idle", "size", "messages", "rate", "connect", "timeout", "slow"])]
    silent: bool,

    /// An attack: each connection sends one byte a second of a message that never ends
    #[arg(long, conflicts_with_all = ["idle", "size", "messages", "rate", "connect", "timeout"])]
    slow: bool,

    /// How long the server may be silent when it owes an answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.silent || arguments.slow {
        return match try_attack(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {}", client::describe(&error));
                ExitCode::FAILURE
            }
        };
    }
    match try_main(&arguments) {
        Ok(mut report) => {
            if let Err(error) = client::printed(print(&report, &arguments)) {
                let text = format!("cannot write the report: {}", client::describe(&error));
                report.errors.insert(0, text);
            }
            for error in report.errors.iter().take(5) {
                eprintln!("error: {error}");
            }
            if report.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_main(arguments: &Arguments) -> io::Result<Report> {
    client::raise_descriptor_limit()?;
    let address = client::listening_address(&arguments.host, arguments.port)?;
    let duration = arguments.duration.unwrap_or(if arguments.messages.is_some() { 600 } else { 5 });
    let options = Options {
        address,
        connections: arguments.connections as usize,
        idle: arguments.idle as usize,
        size: arguments.size as usize,
        duration: Duration::from_secs(duration),
        rate: arguments.rate.map(f64::from),
        timeout: Duration::from_secs(arguments.timeout),
    };
    let messages = arguments.messages.unwrap_or(u64::MAX);
    if arguments.connect { run_visits(&options, messages) } else { run_counted(&options, messages) }
}

fn try_attack(arguments: &Arguments) -> io::Result<()> {
    client::raise_descriptor_limit()?;
    let duration = arguments.duration.unwrap_or(5);
    let endured = attack(
        &Attack {
            address: client::listening_address(&arguments.host, arguments.port)?,
            clients: arguments.connections as usize,
            kind: if arguments.slow { Kind::Slow } else { Kind::Silent },
            duration: Duration::from_secs(duration),
        },
        &AtomicBool::new(false),
    )?;
    let mut stdout = io::stdout();
    client::printed(if arguments.json {
        writeln!(stdout, "{}", json!(endured))
    } else {
        let Endured { greeted, refused, ended, open } = endured;
        writeln!(
            stdout,
            "{} clients for {duration} s: {greeted} greeted, {refused} refused, {ended} ended by the server, {open} still connected",
            arguments.connections
        )
    })
}

fn print(report: &Report, arguments: &Arguments) -> io::Result<()> {
    let mut stdout = io::stdout();
    if arguments.json {
        return writeln!(stdout, "{}", json!(report));
    }
    let Report { messages, seconds, messages_per_second, megabytes_per_second, latency, .. } =
        report;
    let what = if arguments.connect { "connections" } else { "messages" };
    writeln!(
        stdout,
        "{messages} {what} in {seconds:.2} s: {messages_per_second:.0} {what}/s, {megabytes_per_second:.2} MB/s\n\
         latency p50 {:.0} µs, p90 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs, max {:.0} µs",
        latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max,
    )?;
    if report.unsent > 0 {
        writeln!(
            stdout,
            "{} more were due and never sent, the server was so far behind: their latency would be worse",
            report.unsent
        )?;
    }
    writeln!(stdout, "{} errors", report.errors.len())
}
