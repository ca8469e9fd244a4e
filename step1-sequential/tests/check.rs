//! What this stage promises, tested through its binary.

use std::process::ExitCode;

use check::{Client, Outcome, Promise, ensure};
use subprocess::Server;

fn main() -> ExitCode {
    let own: &[check::OwnTest] = &[("one-after-another", one_after_another)];
    check::harness(env!("CARGO_BIN_EXE_step1-sequential"), &[&[]], &Promise::SEQUENTIAL, own)
}

/// The exhibit of this stage: connected is not served. Who comes second is greeted when the first has left.
fn one_after_another(binary: &str) -> Outcome {
    let server = Server::start(binary, ["0"])?;
    let mut first = Client::greeted(server.address())?;
    let mut second = Client::connect(server.address())?;
    second.send(b"^hello$")?;
    for _ in 0..100 {
        first.echo(b"^still here$")?;
    }
    // All that has come by now has come before the first one left: nothing.
    second.stream.set_nonblocking(true)?;
    let early = second.stream.peek(&mut [0]);
    ensure(early.is_err(), || {
        "the second client was greeted while the first was there".to_owned()
    })?;
    second.stream.set_nonblocking(false)?;
    drop(first);
    second.expect(b"*ifmmp")
}
