//! `load HOST PORT`: see the library for what it does.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use client::progress::ProgressBar;
use client::{count, progress, seconds, so_far};
use load::attack::{Attack, Endured, Kind, attack};
use load::{Options, Report, run_counted, run_visits};
use serde_json::json;

const MILLISECOND: Duration = Duration::from_millis(1);

const FIVE_SECONDS: Duration = Duration::from_secs(5);

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

    /// How long to send: 10s, 500ms, or a number of seconds; 5s unless --messages is given
    #[arg(long, value_name = "TIME", value_parser = client::duration(MILLISECOND, Duration::from_secs(600)))]
    duration: Option<Duration>,

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

    /// How long the server may be silent when it owes an answer: 10s, 500ms, or a number of seconds
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = client::duration(MILLISECOND, Duration::from_secs(86_400)))]
    timeout: Duration,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Whether the run is to end at once, and with the report of what there is until then.
static STOP: AtomicBool = AtomicBool::new(false);

/// Whether there is anything to report.
static BEGUN: AtomicBool = AtomicBool::new(false);

/// For the handler of a signal. The second one ends the program whatever it does.
fn stop() {
    if STOP.swap(true, Ordering::Relaxed) || !BEGUN.load(Ordering::Relaxed) {
        so_far::stopped(|| {});
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = ctrlc::set_handler(stop).map_err(io::Error::other).and_then(|()| {
        client::raise_descriptor_limit()?;
        if arguments.silent || arguments.slow { try_attack(&arguments) } else { load(&arguments) }
    });
    let errors = outcome.unwrap_or_else(|error| vec![client::describe(&error)]);
    for error in errors.iter().take(5) {
        client::tell!("error: {error}");
    }
    if errors.len() > 5 {
        client::tell!("error: and {} more", errors.len() - 5);
    }
    if STOP.load(Ordering::Relaxed) {
        client::tell!("stopped");
        return ExitCode::from(so_far::STOPPED);
    }
    if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Loads the server and prints the report; returns what went wrong.
fn load(arguments: &Arguments) -> io::Result<Vec<String>> {
    let address = client::listening_address(&arguments.host, arguments.port)?;
    let longest =
        if arguments.messages.is_some() { Duration::from_secs(600) } else { FIVE_SECONDS };
    let options = Options {
        address,
        connections: arguments.connections as usize,
        idle: arguments.idle as usize,
        size: arguments.size as usize,
        duration: arguments.duration.unwrap_or(longest),
        rate: arguments.rate.map(f64::from),
        timeout: arguments.timeout,
    };
    let messages = arguments.messages.unwrap_or(u64::MAX);
    let line = progress::spinner("connecting");
    let mut started = None;
    let mut watch = |messages: u64| {
        BEGUN.store(true, Ordering::Relaxed);
        let seconds = started.get_or_insert_with(Instant::now).elapsed().as_secs_f64();
        show(&line, arguments, messages, seconds);
        !STOP.load(Ordering::Relaxed)
    };
    let run = if arguments.connect { run_visits } else { run_counted };
    let report = run(&options, messages, &mut watch);
    line.finish_and_clear();
    let report = report?;
    let printed = client::printed(print(&report, arguments));
    let mut errors = report.errors;
    if let Err(error) = printed {
        errors.insert(0, format!("cannot write the report: {}", client::describe(&error)));
    }
    Ok(errors)
}

/// What a terminal shows meanwhile.
fn show(line: &ProgressBar, arguments: &Arguments, messages: u64, seconds: f64) {
    let what = exchanges(arguments, messages);
    let each_second = messages as f64 / seconds.max(0.1);
    line.set_message(format!("{what}, {each_second:.0} per second; Ctrl-C ends it and reports"));
}

/// "1 message", "2 connections".
fn exchanges(arguments: &Arguments, number: u64) -> String {
    let noun = if arguments.connect { "connection" } else { "message" };
    count(usize::try_from(number).unwrap_or(usize::MAX), noun)
}

fn try_attack(arguments: &Arguments) -> io::Result<Vec<String>> {
    let address = client::listening_address(&arguments.host, arguments.port)?;
    let duration = arguments.duration.unwrap_or(FIVE_SECONDS);
    let clients = arguments.connections as usize;
    let kind = if arguments.slow { Kind::Slow } else { Kind::Silent };
    let who = count(clients, "client");
    let does = if arguments.slow { "a byte a second each" } else { "not a word" };
    let line = progress::spinner(&format!("{who}, {does}, for {}", seconds(duration)));
    BEGUN.store(true, Ordering::Relaxed);
    let started = Instant::now();
    let endured = attack(&Attack { address, clients, kind, duration }, &STOP);
    line.finish_and_clear();
    let endured = endured?;
    let lasted = if STOP.load(Ordering::Relaxed) {
        format!("{:.1} s", started.elapsed().as_secs_f64())
    } else {
        seconds(duration)
    };
    let mut stdout = io::stdout();
    client::printed(if arguments.json {
        writeln!(stdout, "{}", json!(endured))
    } else {
        let Endured { greeted, refused, ended, open } = endured;
        writeln!(
            stdout,
            "{who} for {lasted}: {greeted} greeted, {refused} refused, {ended} ended by the server, {open} still connected"
        )
    })?;
    Ok(Vec::new())
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
        "{} in {seconds:.2} s: {messages_per_second:.0} {what}/s, {megabytes_per_second:.2} MB/s\n\
         latency p50 {:.0} µs, p90 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs, max {:.0} µs",
        exchanges(arguments, *messages),
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p99_9,
        latency.max,
    )?;
    if report.unsent > 0 {
        writeln!(
            stdout,
            "{} more were due and never sent, the server was so far behind: their latency would be worse",
            report.unsent
        )?;
    }
    writeln!(stdout, "{}", count(report.errors.len(), "error"))
}
