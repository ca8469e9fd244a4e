//! What this stage promises, tested through its binary.

use std::process::{Command, ExitCode};

use check::{Client, Outcome, Promise, ensure, wait_until};
use subprocess::Server;

fn main() -> ExitCode {
    let own: &[check::OwnTest] = &[("a-thread-each", a_thread_each), ("spam", spam)];
    check::harness(env!("CARGO_BIN_EXE_step2-thread-per-client"), &[&[]], &Promise::ALL, own)
}

fn a_thread_each(binary: &str) -> Outcome {
    let server = Server::start(binary, ["0"])?;
    if server.threads().is_none() {
        eprintln!(
            "a-thread-each: skipped, this system does not say how many threads a process has"
        );
        return Ok(());
    }
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(Client::greeted(server.address())?);
    }
    ensure(server.threads() == Some(51), || {
        format!("{:?} threads for 50 clients", server.threads())
    })?;
    drop(clients);
    wait_until("their threads have ended", || server.threads() == Some(1))
}

fn spam(binary: &str) -> Outcome {
    let output = Command::new(binary).args(["--spam", "200"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure(output.status.success() && text.starts_with("200 idle threads"), || {
        format!("{}: {text}", output.status)
    })
}
