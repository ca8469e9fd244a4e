//! Out of descriptors.

use std::thread;
use std::time::Duration;

use crate::client::{Client, Failure, Outcome, ensure, wait_until};
use crate::process::Server;
use crate::{Case, Promise, Target};

pub(super) const CASES: &[Case] = &[Case {
    name: "out-of-descriptors",
    promise: Promise::Descriptors,
    about: "with 40 descriptors and 60 peers: some are served, none waits for ever, it says so once, does not spin, and \
            serves again when there is room",
    needs_process: true,
    run: out_of_descriptors,
}];

fn out_of_descriptors(target: &Target) -> Outcome {
    let (program, arguments) = target.command("0", &[])?;
    let server = Server::start_with_descriptors(40, program, arguments)?;
    let mut present = Vec::new();
    let mut refused = 0;
    for _ in 0..60 {
        let mut client = Client::connect(server.address())?;
        match client.expect_greeting() {
            Ok(()) => present.push(client),
            Err(_) => refused += 1,
        }
    }
    ensure(present.len() >= 10, || format!("only {} of 60 were served", present.len()))?;
    ensure(refused >= 10, || format!("only {refused} of 60 were refused: is the limit in force?"))?;
    for client in &mut present {
        client.echo(b"^still here$")?;
    }

    // It waits for news of the present peers now, and of new ones; it must not ask for them over and over.
    if let Some(before) = server.cpu_time() {
        thread::sleep(Duration::from_secs(1));
        let used = server.cpu_time().unwrap_or_default().saturating_sub(before);
        ensure(used < Duration::from_millis(500), || {
            format!("{used:?} of CPU time in one idle second")
        })?;
    }

    present.truncate(5);
    wait_until("served again after some have left", || {
        Client::greeted(server.address()).is_ok_and(|mut client| client.echo(b"^new$").is_ok())
    })?;
    let finished = server.stop()?;
    let warnings = finished.stderr.lines().filter(|line| line.contains("WARN")).count();
    ensure(warnings >= 1, || "nothing in the log says that peers were refused".to_owned())?;
    ensure(warnings <= 5, || format!("{warnings} warnings for one shortage"))?;
    ensure(finished.status.success(), || format!("it ended with {}", finished.status)).map_err(
        |Failure(text)| {
            Failure(format!("{text}: {}", finished.stderr.lines().last().unwrap_or_default()))
        },
    )
}
