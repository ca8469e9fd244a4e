//! What this stage promises, tested through its binary.

use std::process::ExitCode;
use std::time::Duration;

use check::{Client, Failure, Outcome, Promise, ensure};
use subprocess::Server;

fn main() -> ExitCode {
    // A sweep takes 64 KiB from a peer: with the usual 200 ms between two of them, 16 MiB would take a minute.
    let own: &[check::OwnTest] = &[("asks-in-vain", asks_in_vain)];
    let binary = env!("CARGO_BIN_EXE_step4-nonblocking-poll");
    check::harness(binary, &[&["--interval", "5"]], &Promise::ALL, own)
}

/// The exhibit of this stage: while nothing happens, it asks on and on.
fn asks_in_vain(binary: &str) -> Outcome {
    let server = Server::start(binary, ["0", "--stats", "--interval", "10"])?;
    let _clients = [Client::greeted(server.address())?, Client::greeted(server.address())?];
    std::thread::sleep(Duration::from_millis(500));
    let finished = server.stop()?;
    let stats = finished.stdout.lines().last().unwrap_or_default();
    let stats: serde_json::Value =
        serde_json::from_str(stats).map_err(|error| Failure(format!("{error}: {stats}")))?;
    let recv = &stats["syscalls"]["recv"];
    ensure(recv["calls"] == recv["would_block"], || format!("nobody has sent anything: {recv}"))?;
    // 500 ms have 50 intervals, and each sweep asks both; a loaded machine may manage fewer.
    ensure(recv["calls"].as_u64() >= Some(10), || format!("hardly asked at all: {recv}"))
}
