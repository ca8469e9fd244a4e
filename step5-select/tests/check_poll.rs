//! The example with poll(2) promises what the stage promises, and has no limit of 1,024.

use std::process::ExitCode;

use check::{Client, Outcome, Promise, ensure, idle_costs_nothing, raise_descriptor_limit};
use subprocess::Server;

fn main() -> ExitCode {
    let own: &[check::OwnTest] = &[("more-than-fd-setsize", more_than_fd_setsize), ("idle", idle)];
    match check::example("poll") {
        Ok(binary) => check::harness(&binary, &[&[]], &Promise::ALL, own),
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// 1,500 clients, all there at once: each is greeted, and each is answered.
fn more_than_fd_setsize(binary: &str) -> Outcome {
    raise_descriptor_limit()?;
    let server = Server::start(binary, ["0"])?;
    let mut clients = Vec::new();
    for _ in 0..1500 {
        clients.push(Client::greeted(server.address())?);
    }
    for client in &mut clients {
        client.echo(b"^hello$")?;
    }
    let finished = server.stop()?;
    ensure(!finished.stderr.contains("WARN"), || format!("a warning: {}", finished.stderr))?;
    ensure(finished.status.success(), || format!("it ended with {}", finished.status))
}

fn idle(binary: &str) -> Outcome {
    idle_costs_nothing(binary, &["0"], 1000)
}
