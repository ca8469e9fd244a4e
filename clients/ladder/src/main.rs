//! `ladder`: builds and runs every stage under the same clients, and prints what each of them cost.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use client::{count, progress, so_far};
use ladder::report::IdleCost;
use ladder::{
    Bench, Measurement, Settings, Stage, attack, build, claims, machine, measure, notes, pictures,
    report, select, table,
};
use serde_json::json;

/// Runs every stage of the course under the same clients and compares what they cost
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    compare: Compare,

    /// The cargo profile to build with
    #[arg(long, value_name = "NAME", default_value = "release", global = true)]
    profile: String,

    /// How wide a table may be [default: as wide as the terminal; as it needs if the output goes elsewhere]
    #[arg(long, value_name = "N", global = true, value_parser = clap::value_parser!(u16).range(20..))]
    columns: Option<u16>,
}

/// What is the same whatever is measured.
struct Surroundings<'a> {
    profile: &'a str,
    columns: Option<usize>,
}

#[derive(Subcommand)]
enum Command {
    /// Measures again what the course says, each claim in a line: holds, or does not
    Claims {
        /// Only the claims that contain TEXT (repeatable)
        #[arg(long, value_name = "TEXT")]
        only: Vec<String>,
    },
    /// Attacks every stage with silent and with dripping clients, and prints what it suffers, with and without limits
    Attack {
        /// How many clients
        #[arg(short = 'n', value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
        clients: u32,

        /// Only this stage, by its number, or any server by part of its name (repeatable)
        #[arg(long, value_name = "STAGE")]
        only: Vec<String>,

        /// Print one JSON array instead of the table
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct Compare {
    /// How many clients, all at once
    #[arg(short = 'n', value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=5000))]
    clients: u32,

    /// Only this stage, by its number, or any server by part of its name (repeatable)
    #[arg(long, value_name = "STAGE")]
    only: Vec<String>,

    /// The servers of labs/async-await too: async-echo and tokio-echo
    #[arg(long)]
    all: bool,

    /// The most clients for stages that serve one at a time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    sequential_max: u32,

    /// Multiply the client's pauses (2.2 s in all) by this
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = client::factor)]
    delay: f64,

    /// Print one JSON array instead of the table
    #[arg(long)]
    json: bool,

    /// Also draw everything on one page, timelines and what idle peers cost included
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Instead: draw the course's pictures, each as an SVG in the folder DIR, from runs that DIR/recorded then keeps
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "clients", "only", "all", "sequential_max", "delay", "json", "report", "verbose",
    ])]
    pictures: Option<PathBuf>,

    /// Run nothing: draw the pictures from what was recorded in this folder
    #[arg(long, value_name = "DIR", requires = "pictures")]
    recorded: Option<PathBuf>,

    /// Show what the servers log
    #[arg(short, long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let columns = arguments.columns.map(usize::from).or_else(client::columns);
    let around = Surroundings { profile: &arguments.profile, columns };
    // A Ctrl-C reaches the server too, a kill does not.
    let handler = ctrlc::set_handler(|| so_far::stopped(ladder::abandon));
    let prepared =
        handler.map_err(io::Error::other).and_then(|()| client::raise_descriptor_limit());
    let outcome = prepared.and_then(|_| match &arguments.command {
        Some(Command::Claims { only }) => check_claims(only, &around),
        Some(Command::Attack { clients, only, json }) => {
            attack_all(*clients as usize, only, *json, &around)
        }
        None => match &arguments.compare.pictures {
            Some(folder) => draw(folder, arguments.compare.recorded.as_deref(), &around),
            None => compare(&arguments.compare, &around),
        },
    });
    // If we are being stopped, there is no error: what failed was ended by us.
    so_far::complete(|| client::exit_code(outcome))
}

/// Whether every stage built, ran and answered rightly.
fn compare(arguments: &Compare, around: &Surroundings<'_>) -> io::Result<bool> {
    let settings = Settings {
        clients: arguments.clients as usize,
        sequential_max: arguments.sequential_max as usize,
        delay: arguments.delay,
        verbose: arguments.verbose,
        timeline: arguments.report.is_some(),
    };
    let stages = select(&arguments.only, arguments.all)?;
    // Before all the measuring: if the page cannot be written, it is known now.
    let page = match &arguments.report {
        Some(path) => {
            // Not truncated yet: an earlier report stays until there is a new one.
            let file = File::options().write(true).create(true).truncate(false).open(path);
            Some((path, file.map_err(|error| unwritable(path, &error))?))
        }
        None => None,
    };
    let mut measurements = Vec::new();
    let mut all_right = true;
    // The first stage is built alone, and has run before the others are built: whoever has just cloned the course sees
    // something soon. No stage runs beside a build: it would be charged for a machine that is busy with other things.
    let (first, others) = stages.split_at(1);
    for stages in [first, others].into_iter().filter(|stages| !stages.is_empty()) {
        let targets: Vec<_> = stages.iter().map(Stage::target).collect();
        let executables = build(&targets, around.profile)?;
        for &stage in stages {
            let measured = executables
                .get(stage.server)
                .ok_or_else(|| io::Error::other("it was not built"))
                .and_then(|executable| one(executable, stage, &settings));
            match measured {
                Ok(measurement) => measurements.push(measurement),
                Err(error) => {
                    all_right = false;
                    client::tell!("error: {}: {error}", stage.server);
                }
            }
            so_far::keep(result(&measurements, arguments, around.columns));
        }
    }
    let text = result(&measurements, arguments, around.columns);
    so_far::complete(|| client::printed(io::stdout().write_all(text.as_bytes())))?;
    if let Some((path, mut file)) = page {
        let idle = idle_costs(arguments.all, around.profile)?;
        let page = report::page(&measurements, &idle, &machine(), &report::link_to_course(path));
        file.set_len(0)
            .and_then(|()| file.write_all(page.as_bytes()))
            .map_err(|error| unwritable(path, &error))?;
        client::tell!("wrote {}", path.display());
    }
    Ok(all_right)
}

/// Measures one stage, and says so.
fn one(executable: &PathBuf, stage: Stage, settings: &Settings) -> io::Result<Measurement> {
    let clients = settings.clients_for(stage);
    let bar = progress::bar(stage.server, clients, "client");
    let measured = measure(executable, stage, settings, |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    if let Ok(Measurement { stage, clients, elapsed, .. }) = &measured {
        client::tell!("{stage}: {} in {elapsed:.2} s", count(*clients, "client"));
    }
    measured
}

/// What is printed of these measurements. A table without rows is not printed.
fn result(measurements: &[Measurement], arguments: &Compare, columns: Option<usize>) -> String {
    if arguments.json {
        return format!("{}\n", json!(measurements));
    }
    if measurements.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", table(measurements, columns));
    for note in notes(measurements, columns) {
        text += &format!("{note}\n");
    }
    if arguments.report.is_some() {
        text += &format!("{}\n", report::TRACED);
    }
    text
}

/// What a message costs the stages that wait for many at once, beside more and more idle peers; with `all`, async-echo too.
fn idle_costs(all: bool, profile: &str) -> io::Result<Vec<IdleCost>> {
    const PEERS: [usize; 5] = [10, 200, 400, 600, 900];
    let bench = Bench::new(profile)?;
    let mut costs = Vec::new();
    let stages = ["step5-select", "step6-epoll-kqueue", "step7-event-loop"];
    for stage in stages.into_iter().chain(all.then_some("async-echo")) {
        let bar = progress::bar(&format!("{stage} beside idle peers"), PEERS.len(), "measurement");
        let mut points = Vec::new();
        for peers in PEERS {
            points.push((peers, 1e6 * bench.cost_beside(stage, peers)?));
            bar.inc(1);
        }
        bar.finish_and_clear();
        costs.push(IdleCost { stage, points });
    }
    Ok(costs)
}

fn unwritable(path: &Path, error: &io::Error) -> io::Error {
    io::Error::other(format!("cannot write {}: {error}", path.display()))
}

/// Draws the pictures: from what was recorded, or from runs that are recorded now.
fn draw(folder: &Path, recorded: Option<&Path>, around: &Surroundings<'_>) -> io::Result<bool> {
    fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    let recorded = match recorded {
        Some(recorded) => recorded.to_owned(),
        None => {
            let recorded = folder.join("recorded");
            pictures::record(&recorded, around.profile, |server| client::tell!("{server}..."))?;
            recorded
        }
    };
    for picture in pictures::draw(&recorded)? {
        let path = folder.join(format!("{}.svg", picture.name));
        fs::write(&path, picture.file()).map_err(|error| unwritable(&path, &error))?;
        client::tell!("wrote {}", path.display());
    }
    Ok(true)
}

/// Whether every stage was built and endured the attacks.
fn attack_all(
    clients: usize,
    only: &[String],
    json: bool,
    around: &Surroundings<'_>,
) -> io::Result<bool> {
    let stages = select(only, false)?;
    let targets: Vec<_> = stages.iter().map(Stage::target).collect();
    let executables = build(&targets, around.profile)?;
    let mut rows = Vec::new();
    let mut all_right = true;
    let result = |rows: &[attack::Row]| match rows {
        _ if json => format!("{}\n", json!(rows)),
        [] => String::new(),
        rows => attack::table(clients, rows, around.columns),
    };
    for stage in stages {
        let bar = progress::bar(stage.server, attack::WAYS.len(), "attack");
        for way @ (attackers, limits) in attack::WAYS {
            let limits = if limits { "with limits" } else { "no limits" };
            bar.set_message(format!("{}: {attackers}, {limits}", stage.server));
            let built = executables.get(stage.server);
            let built = built.ok_or_else(|| io::Error::other("it was not built"));
            match built.and_then(|executable| attack::suffer(executable, stage, way, clients)) {
                Ok(row) => rows.push(row),
                Err(error) => {
                    all_right = false;
                    bar.suspend(|| client::tell!("error: {}: {error}", stage.server));
                    break;
                }
            }
            so_far::keep(result(&rows));
            bar.inc(1);
        }
        bar.finish_and_clear();
    }
    so_far::complete(|| client::printed(io::stdout().write_all(result(&rows).as_bytes())))?;
    Ok(all_right)
}

/// Whether all of them hold.
fn check_claims(only: &[String], around: &Surroundings<'_>) -> io::Result<bool> {
    if let Some(nonsense) =
        only.iter().find(|text| !claims::CLAIMS.iter().any(|claim| claim.text.contains(*text)))
    {
        return Err(io::Error::other(format!("no claim contains \"{nonsense}\"")));
    }
    let mut bench = Bench::new(around.profile)?;
    let mut all_hold = true;
    let mut stdout = io::stdout();
    for claim in claims::CLAIMS {
        if !only.is_empty() && !only.iter().any(|text| claim.text.contains(text.as_str())) {
            continue;
        }
        let spinner = progress::spinner(claim.text);
        let checked = (claim.check)(&mut bench);
        spinner.finish_and_clear();
        let line = match checked {
            Ok(verdict) => {
                all_hold &= verdict.holds;
                format!("{:14} {}: {}", verdict.word(), claim.text, verdict.figure)
            }
            Err(error) => {
                all_hold = false;
                format!("{:14} {}: {error}", "not measured", claim.text)
            }
        };
        // Each line is printed when it is known: a program that is stopped has nothing more to say.
        so_far::complete(|| client::printed(writeln!(stdout, "{line}")))?;
    }
    Ok(all_hold)
}
