//! `check HOST PORT` or `check --cmd 'STAGE {port}'`: runs the cases and says which hold.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use check::{Case, Target, cases};
use clap::Parser;
use serde_json::json;

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

    /// How long the server may take for anything, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,

    /// Print one JSON object for each case
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A Ctrl-C reaches the server that is being checked too, a kill does not.
    let handler = ctrlc::set_handler(|| {
        subprocess::kill_all();
        std::process::exit(130);
    });
    match handler.map_err(io::Error::other).and_then(|()| try_main(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", client::describe(&error));
            ExitCode::FAILURE
        }
    }
}

fn try_main(arguments: &Arguments) -> io::Result<bool> {
    let selected = |case: &&Case| {
        arguments.only.is_empty()
            || arguments.only.iter().any(|name| case.name.contains(name.as_str()))
    };
    let selected: Vec<_> = cases().iter().filter(selected).collect();
    if selected.is_empty() {
        return Err(io::Error::other("no case has such a name; --list shows them"));
    }
    if arguments.list {
        for case in selected {
            let promise = format!("{:?}", case.promise);
            print(format_args!("{promise:12} {:26} {}", case.name, case.about))?;
        }
        return Ok(true);
    }
    check::set_patience(Duration::from_secs(arguments.timeout));
    let target = target(arguments)?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut obstacles = BTreeSet::new();
    for case in selected {
        let started = Instant::now();
        let obstacle = case.obstacle(&target);
        let outcome = if obstacle.is_some() { Ok(()) } else { case.run(&target) };
        let (word, count) = match (&outcome, obstacle) {
            (_, Some(_)) => ("skipped", &mut skipped),
            (Ok(()), None) => ("ok", &mut passed),
            (Err(_), None) => ("FAILED", &mut failed),
        };
        *count += 1;
        let failure = outcome.err().map(|failure| failure.to_string());
        if arguments.json {
            let seconds = started.elapsed().as_secs_f64();
            let line = json!({"case": case.name, "promise": format!("{:?}", case.promise), "outcome": word,
                              "failure": failure, "seconds": seconds});
            print(format_args!("{line}"))?;
        } else {
            print(format_args!("{word:7} {:26} {}", case.name, case.about))?;
            if let Some(obstacle) = obstacle {
                obstacles.insert(obstacle);
            }
            if let Some(failure) = failure {
                print(format_args!("        {failure}"))?;
            }
        }
    }
    if !arguments.json {
        print(format_args!("{passed} passed, {failed} failed, {skipped} skipped"))?;
        for obstacle in obstacles {
            print(format_args!("(skipped: {obstacle})"))?;
        }
    }
    Ok(failed == 0)
}

/// Prints a line. If the reader has left, the exit code still tells what holds.
fn print(line: fmt::Arguments<'_>) -> io::Result<()> {
    client::printed(writeln!(io::stdout(), "{line}"))
}

fn target(arguments: &Arguments) -> io::Result<Target> {
    if let Some(command) = &arguments.command {
        let mut words = command.split_whitespace().map(OsString::from);
        let program = words.next().ok_or_else(|| io::Error::other("the command is empty"))?;
        return Target::command(program, words.collect());
    }
    let (Some(host), Some(port)) = (&arguments.host, arguments.port) else {
        return Err(io::Error::other("no server to check"));
    };
    Ok(Target::Running(client::listening_address(host, port)?))
}
