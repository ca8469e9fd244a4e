//! What this stage promises, tested through its binary.

use std::process::ExitCode;

use check::{Client, Outcome, Promise, ensure, idle_costs_nothing, raise_descriptor_limit};
use subprocess::Server;

fn main() -> ExitCode {
    let own: &[check::OwnTest] = &[("ten-thousand", ten_thousand), ("idle", idle)];
    check::harness(env!("CARGO_BIN_EXE_step6-epoll-kqueue"), &[&[]], &Promise::ALL, own)
}

fn idle(binary: &str) -> Outcome {
    idle_costs_nothing(binary, &["0"], 1000)
}

/// 10,000 clients at once, each greeted and answered; what an idle one takes of the process's memory is bounded.
fn ten_thousand(binary: &str) -> Outcome {
    // Here and there a descriptor each, and a few for ourselves.
    let clients = raise_descriptor_limit()?.saturating_sub(100).min(10_000);
    if clients < 10_000 {
        eprintln!("ten-thousand: with only {clients} clients, for want of descriptors");
    }
    let server = Server::start(binary, ["0", "-q"])?;
    let memory = || server.resident_memory();
    // The first few make the process touch what it touches once.
    let mut connected = Vec::new();
    let mut before = None;
    for number in 0..clients {
        connected.push(Client::connect(server.address())?);
        if number == 99 {
            connected.iter_mut().try_for_each(|client| client.expect_greeting())?;
            before = memory();
        }
    }
    connected[100..].iter_mut().try_for_each(|client| client.expect_greeting())?;
    connected.iter_mut().try_for_each(|client| client.send(b"^hello$"))?;
    connected.iter_mut().try_for_each(|client| client.expect(b"ifmmp"))?;
    if let (Some(before), Some(after)) = (before, memory()) {
        let each = after.saturating_sub(before) / (clients as u64 - 100);
        println!("{each} bytes of user memory for an idle peer");
        ensure(each < 500, || format!("{each} bytes of user memory for an idle peer"))?;
    }
    let finished = server.stop()?;
    ensure(finished.status.success(), || format!("it ended with {}", finished.status))
}
