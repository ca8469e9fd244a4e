//! `herd`: every mode under the same connections, compared.

use std::io::{self, Write};
use std::os::unix::process::parent_id;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use client::table::{Figures, Fitted, wrap};
use client::{count, progress, so_far};
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

    /// How wide a table may be [default: as wide as the terminal; as it needs if the output goes elsewhere]
    #[arg(long, value_name = "N", global = true, value_parser = clap::value_parser!(u16).range(20..))]
    columns: Option<u16>,
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
    #[arg(long, alias = "mode", value_name = "MODE", value_enum)]
    only: Vec<Mode>,

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

    /// How long to wait between one client and the next: 5ms, 1s, or a number of seconds
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = client::duration(Duration::ZERO, Duration::from_secs(1)))]
    pause: Duration,

    /// How many runs, each with a new server
    #[arg(long, value_name = "R", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,

    /// Only this mode (repeatable); the mode accept is left out
    #[arg(long, alias = "mode", value_name = "MODE", value_enum)]
    only: Vec<Mode>,
}

fn main() -> ExitCode {
    let Arguments { command, experiment, columns } = Arguments::parse();
    if let Some(Command::Serve(arguments)) = command {
        master::die_with(parent_id());
        return command::serve(arguments);
    }
    let width = columns.map(usize::from).or_else(client::columns);
    // The master ends its workers, so it is asked to leave, and not killed.
    let handler = ctrlc::set_handler(|| so_far::stopped(subprocess::stop_all));
    let prepared =
        handler.map_err(io::Error::other).and_then(|()| client::raise_descriptor_limit());
    let outcome = prepared.and_then(|_| match &command {
        Some(Command::Lost { workers, connections }) => {
            lost((*workers).into(), *connections as usize, width)
        }
        Some(Command::Stuck(options)) => stuck(options, width),
        _ => herd(&experiment, width),
    });
    // If we are being stopped, there is no error: what failed was ended by us.
    so_far::complete(|| {
        let print = |text: String| client::printed(io::stdout().write_all(text.as_bytes()));
        client::exit_code(outcome.and_then(print).map(|()| true))
    })
}

fn herd(experiment: &Experiment, width: Option<usize>) -> io::Result<String> {
    let program = std::env::current_exe()?;
    let system = system()?;
    let modes = match &experiment.only[..] {
        [] => Mode::value_variants(),
        modes => modes,
    };
    let (workers, connections) = (experiment.workers.into(), experiment.connections as usize);
    let stay = Stuck {
        workers: experiment.workers,
        connections: experiment.connections.min(100),
        pause: Duration::from_millis(5),
        runs: 1,
        only: experiment.only.clone(),
    };
    let mut measured = Vec::new();
    let result = |measured: &[Measurement], stayed: &[Stay]| {
        if experiment.json {
            return format!("{}\n", json!(measured));
        }
        let title = format!(
            "{system}: {}, {} for each row, every one of them served exactly once",
            count(workers, "worker"),
            count(connections, "connection"),
        );
        let spaced: Vec<_> =
            measured.iter().filter(|row| row.arrivals == ARRIVALS[0].name).collect();
        if spaced.is_empty() {
            return String::new();
        }
        let details = details(&spaced);
        let details = details.fit(width);
        let mut text = format!(
            "{}\n\n{}\n\n{}\n\n{}\n\n",
            wrap(&title, 0, width),
            details.text,
            details.legend(LEGEND, 11, width),
            by_arrivals(measured).fit(width).text,
        );
        if !stayed.is_empty() {
            text += &format!("{}\n\n", stuck_table(&stay, stayed, width));
        }
        text + &listeners(&spaced, width)
    };
    for &mode in modes {
        for arrivals in ARRIVALS {
            let name = format!("{}, {}", mode.name(), arrivals.name);
            let bar = progress::bar(&name, connections, "connection");
            let server = (program.as_path(), &["serve"][..]);
            let measurement = measure(server, mode, arrivals, workers, connections, || bar.inc(1));
            bar.finish_and_clear();
            let failed = |error| io::Error::other(format!("{name}: {error}"));
            measured.push(measurement.map_err(failed)?);
            so_far::keep(result(&measured, &[]));
        }
    }
    if experiment.json {
        return Ok(result(&measured, &[]));
    }
    let stayed = stay_in_each(&stay, |stayed| so_far::keep(result(&measured, stayed)))?;
    Ok(result(&measured, &stayed))
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
fn details(rows: &[&Measurement]) -> Figures<'static> {
    let cells = |row: &&Measurement| {
        vec![
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
        ]
    };
    Figures {
        header: &[
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
        ],
        names: 1,
        // Who wakes up, and whether it is always the same one: that tells the modes apart.
        expendable: &["shares", "p99", "p50", "CPU", "returns"],
        rows: rows.iter().map(cells).collect(),
    }
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

/// The same with other arrivals. Those of the last mode may not have come yet.
fn by_arrivals(rows: &[Measurement]) -> Figures<'static> {
    const HEADER: [&str; 1 + ARRIVALS.len()] =
        ["switches (x fair)", ARRIVALS[0].name, ARRIVALS[1].name, ARRIVALS[2].name];
    let row = |rows: &[Measurement]| {
        let cell = |row: &Measurement| {
            let switches = row.per_connection(|worker| worker.voluntary_switches);
            format!("{switches:.2} ({:.2})", row.imbalance())
        };
        let mut cells: Vec<_> =
            std::iter::once(rows[0].mode.clone()).chain(rows.iter().map(cell)).collect();
        cells.resize(HEADER.len(), String::new());
        cells
    };
    let rows = rows.chunks(ARRIVALS.len()).map(row).collect();
    Figures { header: &HEADER, names: 1, expendable: &[], rows }
}

/// Which worker has which listener: equal inodes are one listener.
fn listeners(rows: &[&Measurement], width: Option<usize>) -> String {
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
        let line = format!("{:11}{}{more}: {whose}", row.mode, shown.join(", "));
        text += &format!("{}\n", wrap(&line, 11, width));
    }
    text
}

fn lost(workers: usize, connections: usize, width: Option<usize>) -> io::Result<String> {
    let program = std::env::current_exe()?;
    let server = (program.as_path(), &["serve"][..]);
    let title = format!(
        "{}: {}, one of them stopped, later killed{}",
        system()?,
        count(workers, "worker"),
        migration()
    );
    let modes = Mode::value_variants().iter().map(|&mode| (mode, false));
    let modes: Vec<_> = modes.chain([(Mode::Reuseport, true)]).collect();
    let mut rows = Vec::new();
    let bar = progress::bar("a worker is stopped, and killed", modes.len(), "mode");
    for (mode, keep_listeners) in modes {
        bar.set_message(mode.name());
        let Loss { mode, connections, at_once, later, reset } =
            lose(server, mode, keep_listeners, workers, connections)?;
        bar.inc(1);
        let figures = [connections, at_once, later, reset].map(|figure| figure.to_string());
        rows.push([mode].into_iter().chain(figures).collect());
        so_far::keep(lost_table(&title, rows.clone(), width));
    }
    bar.finish_and_clear();
    Ok(lost_table(&title, rows, width))
}

fn lost_table(title: &str, rows: Vec<Vec<String>>, width: Option<usize>) -> String {
    let table = Figures {
        header: &["connections", "in all", "answered at once", "after the kill", "reset"],
        names: 1,
        expendable: &["in all"],
        rows,
    };
    format!("{}\n\n{}\n", wrap(title, 0, width), table.fit(width).text)
}

/// The experiment with clients that stay, and what it shows.
fn stuck(options: &Stuck, width: Option<usize>) -> io::Result<String> {
    let title = format!(
        "{}: {}, {} {} ms apart",
        system()?,
        count(options.workers.into(), "worker"),
        count(options.connections as usize, "client"),
        1e3 * options.pause.as_secs_f64(),
    );
    let result = |stayed: &[Stay]| {
        let table = stuck_table(options, stayed, width);
        format!("{}\n\n{table}\n", wrap(&title, 0, width))
    };
    Ok(result(&stay_in_each(options, |stayed| so_far::keep(result(stayed)))?))
}

/// Lets clients stay in each mode; `on_row` is told all results so far.
fn stay_in_each(options: &Stuck, on_row: impl Fn(&[Stay])) -> io::Result<Vec<Stay>> {
    let program = std::env::current_exe()?;
    let server = (program.as_path(), &["serve"][..]);
    let modes = if options.only.is_empty() { Mode::value_variants() } else { &options.only };
    // A worker of the mode accept has one client at a time: it does not keep another one waiting.
    let modes = modes.iter().filter(|&&mode| mode != Mode::Accept);
    let (workers, clients) = (options.workers.into(), options.connections as usize);
    let mut stayed = Vec::new();
    for &mode in modes {
        let name = format!("{}, clients that stay", mode.name());
        let bar = progress::bar(&name, options.runs.into(), "run");
        for _ in 0..options.runs {
            let row = stay(server, mode, workers, clients, options.pause);
            stayed.push(
                row.map_err(|error| io::Error::other(format!("{}, stuck: {error}", mode.name())))?,
            );
            on_row(&stayed);
            bar.inc(1);
        }
        bar.finish_and_clear();
    }
    Ok(stayed)
}

fn stuck_table(options: &Stuck, stayed: &[Stay], width: Option<usize>) -> String {
    let row = |row: &Stay| {
        let Stay { mode, workers, clients, stuck, unanswered, .. } = row;
        vec![
            mode.clone(),
            format!("{stuck} of {workers}"),
            format!("{unanswered} of {clients}"),
            format!("{} more", row.until_answered),
            format!("{} of {}", row.to_stuck, row.contested),
        ]
    };
    let mut rows: Vec<_> = stayed.iter().map(row).collect();
    if options.runs > 1 {
        let sum = |figure: fn(&Stay) -> usize| stayed.iter().map(figure).sum::<usize>();
        let in_all = format!("{} of {}", sum(|row| row.to_stuck), sum(|row| row.contested));
        rows.push(["in all", "", "", "", &in_all].map(str::to_owned).to_vec());
    }
    let table: Fitted<'_> = Figures {
        header: &["clients that stay", "stuck", "unanswered", "until answered", "to a stuck one"],
        names: 1,
        expendable: &["until answered"],
        rows,
    }
    .fit(width);
    format!("{}\n\n{}", table.text, table.legend(STUCK, 16, width))
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
