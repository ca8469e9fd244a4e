//! `herd`: every mode under the same connections, compared.

use std::io::{self, Write};
use std::os::unix::process::parent_id;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::utsname::uname;
use serde_json::json;
use thundering_herd::experiment::{ARRIVALS, Loss, Measurement, lose, measure};
use thundering_herd::{Mode, command, master};

/// Starts the prefork server in each mode, sends it connections, and prints who woke up for them
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

    /// The server itself, so that this program needs no other
    #[command(hide = true)]
    Serve(command::Arguments),
}

fn main() -> ExitCode {
    let Arguments { command, experiment } = Arguments::parse();
    let outcome = match command {
        None => herd(&experiment),
        Some(Command::Lost { workers, connections }) => lost(workers.into(), connections as usize),
        Some(Command::Serve(arguments)) => {
            master::die_with(parent_id());
            return command::serve(arguments);
        }
    };
    // Whoever reads our output may leave early (`| head`): no failure of ours.
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
    let spaced: Vec<_> = measured.iter().filter(|row| row.arrivals == ARRIVALS[0].name).collect();
    Ok(format!(
        "{}: {workers} workers, {connections} connections for each row, every one of them served exactly once\n\n\
         {}\n\n{}\n\n{}\n\n{}",
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
shares     how many connections each worker got, by process id
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
            format!("{:.0} µs", row.per_connection(|worker| worker.cpu_microseconds)),
            format!("{} µs", row.p50),
            format!("{} µs", row.p99),
            shares(row),
            format!("{:.2}", row.imbalance()),
        ]);
    }
    table
}

/// How many connections each worker got: of many workers only the most and the fewest.
fn shares(row: &Measurement) -> String {
    let served = row.workers.iter().map(|worker| worker.connections);
    if row.workers.len() <= 8 {
        served.map(|count| count.to_string()).collect::<Vec<_>>().join(" ")
    } else {
        format!("{} to {}", served.clone().min().unwrap_or(0), served.max().unwrap_or(0))
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

/// Whose listener is whose: equal inodes are one and the same.
fn listeners(rows: &[&Measurement]) -> String {
    let mut text = "The listeners' inodes, socket:[...] in /proc/PID/fd:\n".to_owned();
    for row in rows {
        let mut inodes: Vec<_> = row.workers.iter().flat_map(|w| w.listeners.clone()).collect();
        inodes.sort_unstable();
        inodes.dedup();
        let whose =
            if inodes.len() == 1 { "the same in every worker" } else { "one in each worker" };
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

/// Whether the kernel hands what waits for a listener that ends to another one on the same port (Linux 5.14).
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
