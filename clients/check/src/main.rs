//! `check HOST PORT` or `check --cmd 'STAGE {port}'`: runs the cases and says which hold.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use check::{Case, Target, cases};
use clap::Parser;
use client::{progress, so_far};

mod report;

use report::{Outcome, Report, print, wrapped};

/// Why a stranger's server is not asked for more, unless --all says so.
const NOT_CORE: &str = "this course's own options and messages, --all runs them";

/// Checks a server of the course's protocol: conformance, faults, and what it does when things run out
#[derive(Parser)]
struct Arguments {
    /// The name or address of a server that runs already
    #[arg(required_unless_present_any = ["command", "list"], requires = "port")]
    host: Option<String>,

    /// Its port
    port: Option<u16>,

    /// Start this command for each case instead; {port} in it stands for the port
    ///
    /// A command that prints `Listening on ADDRESS` as its first line is given port 0, which stands for a free one; any
    /// other command is given a port that was free a moment before. It is not run by a shell, and a script must `exec`
    /// the server.
    #[arg(long = "cmd", value_name = "COMMAND", conflicts_with = "host")]
    command: Option<String>,

    /// List the cases and run none
    #[arg(long)]
    list: bool,

    /// Run only the cases whose name contains NAME (repeatable)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Run only what any server of the protocol can promise: no options and messages of this course's own
    ///
    /// This is so anyway for a command that does not print `Listening on ADDRESS`.
    #[arg(long, conflicts_with = "all")]
    core: bool,

    /// Run all cases, whatever the command prints
    #[arg(long)]
    all: bool,

    /// Go on even if the server does not greet
    #[arg(long)]
    keep_going: bool,

    /// How long the server may take for anything: `5`, `5s`, `500ms`
    #[arg(long, value_name = "TIME", default_value = "20s",
          value_parser = client::duration(Duration::from_millis(1), Duration::from_secs(3600)))]
    timeout: Duration,

    /// Print one JSON object for each case
    #[arg(long)]
    json: bool,

    /// Also write the results to FILE, as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A Ctrl-C reaches the server that is being checked too, a kill does not.
    let handler = ctrlc::set_handler(|| {
        // From here on no case can end: each asks first how its server fared.
        so_far::stopped(subprocess::kill_all);
    });
    client::exit_code(handler.map_err(io::Error::other).and_then(|()| try_main(&arguments)))
}

fn try_main(arguments: &Arguments) -> io::Result<bool> {
    let is_selected = |case: &&Case| {
        arguments.only.is_empty()
            || arguments.only.iter().any(|name| case.name.contains(name.as_str()))
    };
    let mut selected: Vec<_> = cases().iter().filter(is_selected).collect();
    if arguments.list && arguments.core {
        selected.retain(|case| case.promise.is_core());
    }
    if selected.is_empty() {
        return Err(io::Error::other("no case has such a name; --list shows them"));
    }
    if arguments.list {
        for case in selected {
            let promise = format!("{:?}", case.promise);
            let line = format!("{promise:12} {:26} {}", case.name, case.about);
            print(&wrapped(&line, 12 + 1 + 26 + 1))?;
        }
        return Ok(true);
    }
    check::set_patience(arguments.timeout);
    let mut report = Report::new(arguments.json, arguments.junit.clone(), selected.len())?;
    let target = target(arguments)?;
    // A command that says where it listens, in this course's words, is one of its servers, or wants to be one. And who
    // names a case means it.
    let all = arguments.all
        || !arguments.core && (matches!(target, Target::Command(..)) || !arguments.only.is_empty());
    if !all && !selected.iter().any(|case| case.promise.is_core()) {
        return Err(io::Error::other("no such case is of the core: leave out --core"));
    }
    let mut stopped = None;
    for case in selected {
        let not_core = (!all && !case.promise.is_core()).then_some(NOT_CORE);
        let obstacle = match target {
            // Here --all would not help.
            Target::Running(_) => case.obstacle(&target).or(not_core),
            _ => not_core.or(case.obstacle(&target)),
        }
        .or(stopped);
        let started = Instant::now();
        let outcome = match obstacle {
            Some(obstacle) => Outcome::Skipped(obstacle.to_owned()),
            None => {
                report.begins(case);
                run(case, &target)
            }
        };
        let failed = matches!(outcome, Outcome::Failed(_));
        report.add(case, outcome, started.elapsed())?;
        if failed && case.name == "greeting" && !arguments.keep_going {
            stopped = Some("the greeting failed, --keep-going goes on all the same");
        }
        if let (true, Target::Running(address)) = (failed, &target)
            && !subprocess::is_there(*address)
        {
            stopped = Some("the server is not there any more");
        }
    }
    report.end()?;
    Ok(report.failed() == 0)
}

/// Runs a case; a terminal shows which, as long as it takes.
fn run(case: &Case, target: &Target) -> Outcome {
    let spinner = progress::spinner(&format!("{}: {}", case.name, case.about));
    let outcome = case.run(target);
    spinner.finish_and_clear();
    match outcome {
        Ok(()) => Outcome::Passed,
        Err(failure) => Outcome::Failed(failure.to_string()),
    }
}

fn target(arguments: &Arguments) -> io::Result<Target> {
    if let Some(command) = &arguments.command {
        let mut words = command.split_whitespace().map(OsString::from);
        let program = words.next().ok_or_else(|| io::Error::other("the command is empty"))?;
        let spinner =
            progress::spinner("starting the command to see whether it says where it listens");
        let target = Target::command(program, words.collect());
        spinner.finish_and_clear();
        return target;
    }
    let (Some(host), Some(port)) = (&arguments.host, arguments.port) else {
        return Err(io::Error::other("no server to check"));
    };
    client::resolve(host, port)?
        .find(|&address| subprocess::is_there(address))
        .map(Target::Running)
        .ok_or_else(|| io::Error::other(format!("no server listens on {host}:{port}")))
}
