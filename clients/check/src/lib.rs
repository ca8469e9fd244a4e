//! Conformance and fault cases against any server of the course's protocol, in any language.
//!
//! A [`Case`] tests one thing that a server may promise; the [`Promise`] says what kind of thing. The `check` command
//! runs them against a server that is there already (`check HOST PORT`) or that it starts itself, one for each case
//! (`check --cmd 'STAGE {port}'`). A stage's own tests call [`harness`] with what that stage promises.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::process::{ExitCode, Output};

use libtest_mimic::{Arguments, Trial};

mod cases;
mod client;
pub mod in_process;
mod own;
mod process;
mod talkers;
mod transcript;

pub use ::client::raise_descriptor_limit;
pub use cases::cases;
pub use client::{Client, Failure, Outcome, ensure, is_timeout, set_patience, wait_until};
pub use own::{
    example, idle_costs_nothing, idle_memory, memory_of_idle_peers, reports_unwritable_output,
};
use subprocess::Server;

use crate::process::Process;

/// What a server may promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// The right bytes come back, however they are split over reads and writes.
    Protocol,
    /// What one peer does ends that peer at most.
    Isolation,
    /// No peer waits for another one.
    Concurrency,
    /// The server does not pile up what a peer does not fetch.
    Backpressure,
    /// The server goes on: it does not grow, does not spin, and does not die of what happens to every process.
    Endurance,
    /// SIGTERM and SIGINT end it, and nobody loses what was on its way.
    Lifecycle,
    /// Out of descriptors, the server serves the peers that are there, and new ones again when there is room.
    Descriptors,
    /// `--max-clients` and `--idle-timeout`.
    Limits,
    /// The command line that all stages share, and what it says when it cannot start.
    Arguments,
    /// `--stats` and `--trace`.
    Statistics,
}

impl Promise {
    /// All of them: what an event-driven server promises.
    pub const ALL: [Promise; 10] = [
        Promise::Protocol,
        Promise::Isolation,
        Promise::Concurrency,
        Promise::Backpressure,
        Promise::Endurance,
        Promise::Lifecycle,
        Promise::Descriptors,
        Promise::Limits,
        Promise::Arguments,
        Promise::Statistics,
    ];

    /// What a server promises that serves one client at a time.
    pub const SEQUENTIAL: [Promise; 8] = [
        Promise::Protocol,
        Promise::Isolation,
        Promise::Backpressure,
        Promise::Endurance,
        Promise::Lifecycle,
        Promise::Limits,
        Promise::Arguments,
        Promise::Statistics,
    ];

    /// Whether any server of the protocol can keep it, without this course's options and messages.
    pub fn is_core(self) -> bool {
        !matches!(
            self,
            Promise::Descriptors | Promise::Limits | Promise::Arguments | Promise::Statistics
        )
    }
}

/// One thing to be tested.
#[derive(Clone, Copy)]
pub struct Case {
    /// A name to select it by.
    pub name: &'static str,
    /// What kind of thing it tests.
    pub promise: Promise,
    /// What must hold, in a sentence.
    pub about: &'static str,
    /// Whether it must start and stop the server itself, and so cannot test one that is there already.
    pub needs_process: bool,
    obstacle: fn() -> Option<&'static str>,
    run: fn(&Target) -> Result<(), Failure>,
}

impl Case {
    /// Why it cannot be tested against this target or on this machine, if so.
    pub fn obstacle(&self, target: &Target) -> Option<&'static str> {
        if self.needs_process && matches!(target, Target::Running(_)) {
            return Some("it starts and stops the server itself, see --cmd");
        }
        (self.obstacle)()
    }

    /// Tests it.
    ///
    /// # Errors
    /// It does not hold.
    pub fn run(&self, target: &Target) -> Result<(), Failure> {
        let outcome = (self.run)(target).map_err(|Failure(mut text)| {
            if let Some(fate) = process::fate_of_last() {
                text.push_str(&format!("\nserver    {fate}"));
            }
            Failure(text)
        });
        process::end();
        outcome
    }

    /// What usually causes this failure.
    pub fn hint(&self, failure: &str) -> &'static str {
        cases::hints::hint(self.name, failure)
    }
}

/// What the cases are run against.
#[derive(Clone, Debug)]
pub enum Target {
    /// A server that is there already.
    Running(SocketAddr),
    /// A program to be started for each case, with these arguments; `{port}` in one of them stands for the port. The
    /// program must print `Listening on ADDRESS` first, and take port 0 for a free one.
    Command(OsString, Vec<OsString>),
    /// The same for a program that prints no such line: it is given a port that was free a moment before.
    Unannounced(OsString, Vec<OsString>),
}

impl Target {
    /// A program that takes the port as its last argument, as the stages do.
    pub fn stage(program: &str, arguments: &[&str]) -> Self {
        let mut arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        arguments.push("{port}".into());
        Target::Command(program.into(), arguments)
    }

    /// This command, as [`Target::Command`] or [`Target::Unannounced`]: it is started once to see which it is.
    ///
    /// # Errors
    /// It does not listen, or it is a script that stays between us and the server.
    pub fn command(program: OsString, arguments: Vec<OsString>) -> io::Result<Self> {
        let address = subprocess::free_address()?;
        let port = address.port().to_string();
        Ok(match Server::announces(&program, with_port(&arguments, &port), address)? {
            true => Target::Command(program, arguments),
            false => Target::Unannounced(program, arguments),
        })
    }

    /// The server to talk to: the one that is there, or a new one.
    fn server(&self) -> Result<Subject, Failure> {
        match self {
            Target::Running(address) => Ok(Subject { address: *address, process: None }),
            _ => {
                let process = self.start(&[])?;
                Ok(Subject { address: process.address(), process: Some(process) })
            }
        }
    }

    /// A new server, with further arguments.
    fn start(&self, further: &[&str]) -> Result<Process, Failure> {
        self.start_with(None, further)
    }

    /// A new server, with a limit of open files and further arguments.
    fn start_with(&self, descriptors: Option<u64>, further: &[&str]) -> Result<Process, Failure> {
        if !matches!(self, Target::Unannounced(..)) {
            let (program, arguments) = self.with_port("0", further)?;
            let server = match descriptors {
                Some(number) => Server::start_with_descriptors(number, program, arguments),
                None => Server::start(program, arguments),
            };
            return Ok(Process::new(server?));
        }
        // Another process may take the port meanwhile: then try another port.
        let mut attempts = 3;
        loop {
            attempts -= 1;
            let address = subprocess::free_address()?;
            let (program, arguments) = self.with_port(&address.port().to_string(), further)?;
            match Server::start_unannounced(descriptors, program, arguments, address) {
                Err(_) if attempts > 0 => {}
                result => return Ok(Process::new(result?)),
            }
        }
    }

    /// A new server whose standard output nobody reads after its first line.
    fn start_unread(&self) -> Result<Process, Failure> {
        let address = subprocess::free_address()?;
        let unannounced = matches!(self, Target::Unannounced(..)).then_some(address);
        let port = unannounced.map_or(0, |address| address.port());
        let (program, arguments) = self.with_port(&port.to_string(), &[])?;
        Ok(Process::new(Server::start_unread(program, arguments, unannounced)?))
    }

    /// A new server on the port of an earlier one.
    fn start_on(&self, address: SocketAddr) -> Result<Process, Failure> {
        let (program, arguments) = self.with_port(&address.port().to_string(), &[])?;
        Ok(Process::new(match self {
            Target::Unannounced(..) => {
                Server::start_unannounced(None, program, arguments, address)?
            }
            _ => Server::start(program, arguments)?,
        }))
    }

    /// Runs the command when it must fail, and so ends by itself.
    fn run(&self, port: &str, further: &[&str]) -> Result<Output, Failure> {
        let (program, arguments) = self.with_port(port, further)?;
        Ok(subprocess::run(program, arguments, client::patience())?)
    }

    /// The command with the port put in.
    fn with_port(
        &self,
        port: &str,
        further: &[&str],
    ) -> Result<(OsString, Vec<OsString>), Failure> {
        match self {
            Target::Running(_) => {
                Err(Failure("this case has to start the server itself".to_owned()))
            }
            Target::Command(program, arguments) | Target::Unannounced(program, arguments) => {
                let further = further.iter().map(OsString::from);
                Ok((program.clone(), with_port(arguments, port).chain(further).collect()))
            }
        }
    }
}

fn with_port(arguments: &[OsString], port: &str) -> impl Iterator<Item = OsString> {
    arguments.iter().map(move |argument| match argument.to_str() {
        Some(text) => text.replace("{port}", port).into(),
        None => argument.clone(),
    })
}

/// The server that a case talks to.
struct Subject {
    address: SocketAddr,
    process: Option<Process>,
}

/// The `main` of a stage's `tests/check.rs` (`harness = false`): every case of the promises that the stage makes, each
/// a test of its own in cargo's output, and then the stage's own tests.
///
/// The server is `binary`, started anew for each case with a free port, once with each of the lists of arguments in
/// `variants`.
pub fn harness(
    binary: &str,
    variants: &[&[&str]],
    promises: &[Promise],
    own: &[OwnTest],
) -> ExitCode {
    let options = test_arguments();
    let mut trials = Vec::new();
    for arguments in variants {
        let target = Target::stage(binary, arguments);
        for case in cases().iter().filter(|case| promises.contains(&case.promise)) {
            let target = target.clone();
            let name = [&[case.name], *arguments].concat().join(" ");
            let obstructed = case.obstacle(&target).is_some();
            let hinted = |Failure(text)| {
                let hint = case.hint(&text);
                Failure(format!("{text}\nhint      {hint}"))
            };
            let trial = Trial::test(name, move || Ok(case.run(&target).map_err(hinted)?));
            trials.push(trial.with_ignored_flag(obstructed));
        }
    }
    for &(name, run) in own {
        let binary = binary.to_owned();
        trials.push(Trial::test(name, move || Ok(run(&binary)?)));
    }
    libtest_mimic::run(&options, trials).exit_code()
}

/// The command line of a test that brings its own `main`. It runs as many at a time as cargo runs of its own tests:
/// RUST_TEST_THREADS.
pub fn test_arguments() -> Arguments {
    let mut options = Arguments::from_args();
    let threads = std::env::var("RUST_TEST_THREADS").ok().and_then(|number| number.parse().ok());
    options.test_threads = options.test_threads.or(threads);
    options
}

/// A test that a stage has besides: its name, and what is done with the path of the stage's binary.
pub type OwnTest = (&'static str, fn(&str) -> Outcome);
