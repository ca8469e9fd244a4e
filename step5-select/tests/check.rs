//! What this stage promises, tested through its binary.

use std::process::ExitCode;

use check::{
    Client, Outcome, Promise, ensure, idle_costs_nothing, raise_descriptor_limit, wait_until,
};
use subprocess::Server;

fn main() -> ExitCode {
    let own: &[check::OwnTest] = &[("more-than-fd-setsize", more_than_fd_setsize), ("idle", idle)];
    check::harness(env!("CARGO_BIN_EXE_step5-select"), &[&[]], &Promise::ALL, own)
}

/// 1,100 clients for 1,024 descriptors: the last ones are refused, the others do not notice, the process lives.
fn more_than_fd_setsize(binary: &str) -> Outcome {
    raise_descriptor_limit()?;
    let server = Server::start(binary, ["0"])?;
    let mut served = Vec::new();
    let mut refused = 0;
    for _ in 0..1100 {
        let mut client = Client::connect(server.address())?;
        match client.expect_greeting() {
            Ok(()) => served.push(client),
            Err(_) => refused += 1,
        }
    }
    ensure(served.len() >= 1000, || format!("only {} of 1100 were served", served.len()))?;
    ensure(served.len() < 1024, || format!("{} were served: where is the limit?", served.len()))?;
    ensure(refused == 1100 - served.len(), || format!("{refused} were refused"))?;
    for client in &mut served {
        client.echo(b"^hello$")?;
    }
    served.truncate(500);
    wait_until("new clients are served when others have left", || {
        Client::greeted(server.address()).is_ok()
    })?;
    let finished = server.stop()?;
    let warnings: Vec<_> = finished.stderr.lines().filter(|line| line.contains("WARN")).collect();
    ensure(warnings.len() == 1 && warnings[0].contains("1024"), || {
        format!("not one warning: {warnings:?}")
    })?;
    ensure(finished.status.success(), || format!("it ended with {}", finished.status))
}

fn idle(binary: &str) -> Outcome {
    idle_costs_nothing(binary, &["0"], 1000)
}
