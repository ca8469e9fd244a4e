//! `herd`: every mode under the same connections, compared.

use std::io::{self, Write};
use std::os::unix::process::parent_id;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::utsname::uname;
use serde_json::json;
use thundering_herd::experiment::{ARRIVALS, Loss, Measurement, Stay, lose, measure, stay};
use thundering_herd::{Mode, command, master};

/// Starts the prefork server in each mode, sends it connections, and prints which workers woke up
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    experiment: Experiment,
}

#[derive(clap::Args)]
struct Experiment {
    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=500))]
    workers: u16,

    /// How many connections for each mode
    #[arg(long, value_name = "M", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,

    /// Only this mode (repeatable)
    #[arg(long, value_enum)]
    mode: Vec<Mode>,

    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Stops a worker, lets connections come, kills it: which of them are lost?
    Lost {
        /// How many workers
        #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=500))]
        workers: u16,

        /// How many connections come meanwhile
        #[arg(long, value_name = "M", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
        connections: u32,
    },

    /// Lets clients come and stay: how many workers get stuck in accept, and how many clients are not answered?
    Stuck(Stuck),

    /// The server itself, so that this program needs no other
    #[command(hide = true)]
    Serve(command::Arguments),
}

#[derive(clap::Args)]
struct Stuck {
    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=500))]
    workers: u16,

    /// How many clients come
    #[arg(long, value_name = "M", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,

    /// How long to wait between one client and the next, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(..=1000))]
    pause: u64,

    /// How many runs, each with a new server
    #[arg(long, value_name = "R", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,

    /// Only this mode (repeatable); the mode accept is left out
    #[arg(long, value_enum)]
    mode: Vec<Mode>,
}

fn main() -> ExitCode {
    let Arguments { command, experiment } = Arguments::parse();
    let outcome = match command {
        None => herd(&experiment),
        Some(Command::Lost { workers, connections }) => lost(workers.into(), connections as usize),
        Some(Command::Stuck(options)) => system().and_then(|system| {
            let Stuck { workers, connections, pause, .. } = options;
            let table = stuck(&options)?;
            Ok(format!(
                "{system}: {workers} workers, {connections} clients {pause} ms apart\n\n{table}\n"
            ))
        }),
        Some(Command::Serve(arguments)) => {
            master::die_with(parent_id());
            return command::serve(arguments);
        }
    };
    // A reader of our output may leave early (`| head`): that is not an error.
    match outcome.map(|text| write!(io::stdout(), "{text}")) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", client::describe(&error));
            ExitCode::FAILURE
        }
    }
}

fn herd(experiment: &Experiment) -> io::Result<String> {
    client::raise_descriptor_limit()?;
    let program = std::env::current_exe()?;
    let modes = match &experiment.mode[..] {
        [] => Mode::value_variants(),
        modes => modes,
    };
    let (workers, connections) = (experiment.workers.into(), experiment.connections as usize);
    let mut measured = Vec::new();
    for &mode in modes {
        for arrivals in ARRIVALS {
            let bar = progress_bar(&format!("{}, {}", mode.name(), arrivals.name), connections);
            let server = (program.as_path(), &["serve"][..]);
            let measurement = measure(server, mode, arrivals, workers, connections, || bar.inc(1));
            bar.finish_and_clear();
            measured.push(measurement.map_err(|error| {
                io::Error::other(format!("{}, {}: {error}", mode.name(), arrivals.name))
            })?);
        }
    }
    if experiment.json {
        return Ok(format!("{}\n", json!(measured)));
    }
    let stuck = stuck(&Stuck {
        workers: experiment.workers,
        connections: experiment.connections.min(100),
        pause: 5,
        runs: 1,
        mode: experiment.mode.clone(),
    })?;
    let spaced: Vec<_> = measured.iter().filter(|row| row.arrivals == ARRIVALS[0].name).collect();
    Ok(format!(
        "{}: {workers} workers, {connections} connections for each row, every one of them served exactly once\n\n\
         {}\n\n{}\n\n{}\n\n{stuck}\n\n{}",
        system()?,
        details(&spaced),
        LEGEND,
        by_arrivals(&measured),
        listeners(&spaced),
    ))
}

const LEGEND: &str = "\
switches   how often a worker was woken, all workers together (getrusage): 1 is the one that serves
returns    how often the call in which it sleeps came back: epoll_wait or kevent, in the mode accept accept itself
in vain    how often it then found nothing to accept, or the lock taken
in accept  how many workers were in accept in the end: those of the mode accept wait there, others are stuck
shares     how many connections each worker got, by process id (oneshot: each thread)
x fair     the largest of these shares, in fair ones
p50, p99   from connect to the end of the answer
CPU        the workers' user and system time";

/// Connections that come one by one, each to workers that are all asleep.
fn details(rows: &[&Measurement]) -> Table {
    let mut table = table(&[
        "per connection",
        "switches",
        "returns",
        "in vain",
        "in accept",
        "CPU",
        "p50",
        "p99",
        "shares",
        "x fair",
    ]);
    for row in rows {
        table.add_row([
            row.mode.clone(),
            format!("{:.2}", row.per_connection(|worker| worker.voluntary_switches)),
            format!("{:.2}", row.per_connection(|worker| worker.returns)),
            format!("{:.2}", row.per_connection(|worker| worker.in_vain)),
            row.in_accept.to_string(),
            format!("{:.0} µs", row.per_connection(|worker| worker.cpu_microseconds)),
            format!("{} µs", row.p50),
            format!("{} µs", row.p99),
            shares(row),
            format!("{:.2}", row.imbalance()),
        ]);
    }
    table
}

/// How many connections each worker got; for many workers only the fewest and the most.
fn shares(row: &Measurement) -> String {
    let shares = row.shares();
    if shares.len() <= 8 {
        shares.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
    } else {
        format!("{} to {}", shares.iter().min().unwrap_or(&0), shares.iter().max().unwrap_or(&0))
    }
}

/// The same with other arrivals.
fn by_arrivals(rows: &[Measurement]) -> Table {
    let header = std::iter::once("switches (x fair)").chain(ARRIVALS.iter().map(|a| a.name));
    let mut table = table(&header.collect::<Vec<_>>());
    for rows in rows.chunks(ARRIVALS.len()) {
        let cells = rows.iter().map(|row| {
            let switches = row.per_connection(|worker| worker.voluntary_switches);
            format!("{switches:.2} ({:.2})", row.imbalance())
        });
        table.add_row(std::iter::once(rows[0].mode.clone()).chain(cells));
    }
    table
}

/// Which worker has which listener: equal inodes are one listener.
fn listeners(rows: &[&Measurement]) -> String {
    let mut text = "The listeners' inodes, socket:[...] in /proc/PID/fd:\n".to_owned();
    for row in rows {
        let mut inodes: Vec<_> = row.workers.iter().flat_map(|w| w.listeners.clone()).collect();
        inodes.sort_unstable();
        inodes.dedup();
        let whose = match (inodes.len(), row.workers.len()) {
            (_, 1) => "of the one process",
            (1, _) => "the same in every worker",
            _ => "one in each worker",
        };
        let shown: Vec<_> = inodes.iter().take(8).map(u64::to_string).collect();
        let more = if inodes.len() > 8 { ", ..." } else { "" };
        text += &format!("{:11}{}{more}: {whose}\n", row.mode, shown.join(", "));
    }
    text
}

fn lost(workers: usize, connections: usize) -> io::Result<String> {
    client::raise_descriptor_limit()?;
    let program = std::env::current_exe()?;
    let server = (program.as_path(), &["serve"][..]);
    let mut table =
        table(&["connections", "in all", "answered at once", "after the kill", "reset"]);
    let modes = Mode::value_variants().iter().map(|&mode| (mode, false));
    for (mode, keep_listeners) in modes.chain([(Mode::Reuseport, true)]) {
        let loss = lose(server, mode, keep_listeners, workers, connections)?;
        let Loss { mode, connections, at_once, later, reset } = loss;
        table.add_row(
            [mode].into_iter().chain([connections, at_once, later, reset].map(|n| n.to_string())),
        );
    }
    Ok(format!(
        "{}: {workers} workers, one of them stopped, later killed{}\n\n{table}\n",
        system()?,
        migration()
    ))
}

/// The experiment with clients that stay.
fn stuck(options: &Stuck) -> io::Result<String> {
    client::raise_descriptor_limit()?;
    let program = std::env::current_exe()?;
    let server = (program.as_path(), &["serve"][..]);
    let modes = if options.mode.is_empty() { Mode::value_variants() } else { &options.mode };
    // A worker of the mode accept has one client at a time: it does not keep another one waiting.
    let modes = modes.iter().filter(|&&mode| mode != Mode::Accept);
    let (workers, clients) = (options.workers.into(), options.connections as usize);
    let pause = Duration::from_millis(options.pause);
    let mut table =
        table(&["clients that stay", "stuck", "unanswered", "until answered", "to a stuck one"]);
    let (mut contested_in_all, mut to_stuck_in_all) = (0, 0);
    for &mode in modes {
        for _ in 0..options.runs {
            let row = stay(server, mode, workers, clients, pause)
                .map_err(|error| io::Error::other(format!("{}, stuck: {error}", mode.name())))?;
            let Stay { mode, stuck, unanswered, until_answered, contested, to_stuck, .. } = row;
            contested_in_all += contested;
            to_stuck_in_all += to_stuck;
            table.add_row([
                mode,
                format!("{stuck} of {workers}"),
                format!("{unanswered} of {clients}"),
                format!("{until_answered} more"),
                format!("{to_stuck} of {contested}"),
            ]);
        }
    }
    table.add_row_if(
        |_, _| options.runs > 1,
        ["in all", "", "", "", &format!("{to_stuck_in_all} of {contested_in_all}")],
    );
    Ok(format!("{table}\n\n{STUCK}"))
}

const STUCK: &str = "\
stuck           workers that were asleep in accept when the last client had connected
unanswered      clients that were accepted, spoke then, and were not answered: those of the stuck workers
until answered  how many more connections had to come until they were
to a stuck one  who got the connections that came while some workers were stuck and others slept in their pollers";

/// Whether the kernel moves connections from a listener that ends to another one on the same port (Linux 5.14).
fn migration() -> String {
    std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req")
        .map_or(String::new(), |text| format!("; net.ipv4.tcp_migrate_req = {}", text.trim()))
}

fn system() -> io::Result<String> {
    let system = uname()?;
    let cores = std::thread::available_parallelism()?;
    let (name, release) = (system.sysname().display(), system.release().display());
    Ok(format!("{name} {release}, {cores} cores"))
}

/// The first column is a name, all others are figures.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn progress_bar(name: &str, length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64).with_message(name.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{msg:32} {bar:40} {pos}/{len}") {
        bar.set_style(style);
    }
    bar
}
