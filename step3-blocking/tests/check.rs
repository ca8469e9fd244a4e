//! What this stage promises, tested through its binary.

use std::process::ExitCode;
use std::time::Duration;

use check::{Client, Outcome, Promise, ensure};
use subprocess::Server;

fn main() -> ExitCode {
    // `-q` and `-v` differ from the other stages: this one always logs the waits.
    let own: &[check::OwnTest] = &[("waits-are-shown", waits_are_shown)];
    check::harness(env!("CARGO_BIN_EXE_step3-blocking"), &[&[]], &Promise::SEQUENTIAL, own)
}

/// One line before each call that may sleep, one after it; and waiting costs no CPU time.
fn waits_are_shown(binary: &str) -> Outcome {
    let server = Server::start(binary, ["0"])?;
    let mut client = Client::greeted(server.address())?;
    client.echo(b"^hello$")?;
    let before = server.cpu_time();
    std::thread::sleep(Duration::from_millis(500));
    let used =
        server.cpu_time().zip(before).map(|(after, before)| after - before).unwrap_or_default();
    ensure(used < Duration::from_millis(100), || format!("{used:?} of CPU time asleep in recv"))?;
    client.half_close()?;
    client.expect_end(false)?;
    let finished = server.stop()?;
    let calls = finished.stderr.matches("Calling recv...").count();
    ensure(calls == 2, || format!("{calls} calls of recv shown, expected 2: {}", finished.stderr))?;
    for line in ["recv returned 7 bytes", "recv returned 0 bytes"] {
        ensure(finished.stderr.contains(line), || format!("no `{line}` in: {}", finished.stderr))?;
    }
    Ok(())
}
