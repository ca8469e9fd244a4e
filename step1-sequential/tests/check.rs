//! What this stage promises, tested through its binary.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitCode, Stdio};

use check::{Client, Outcome, Promise, ensure};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use subprocess::Server;

fn main() -> ExitCode {
    let own: &[check::OwnTest] = &[("one-after-another", one_after_another), ("colours", colours)];
    check::harness(env!("CARGO_BIN_EXE_step1-sequential"), &[&[]], &Promise::SEQUENTIAL, own)
}

/// The exhibit of this stage: a connected client is not yet served. The second is greeted when the first has left.
fn one_after_another(binary: &str) -> Outcome {
    let server = Server::start(binary, ["0"])?;
    let mut first = Client::greeted(server.address())?;
    let mut second = Client::connect(server.address())?;
    second.send(b"^hello$")?;
    for _ in 0..100 {
        first.echo(b"^still here$")?;
    }
    // The first client is still there, so nothing has come yet.
    second.stream.set_nonblocking(true)?;
    let early = second.stream.peek(&mut [0]);
    ensure(early.is_err(), || {
        "the second client was greeted while the first was there".to_owned()
    })?;
    second.stream.set_nonblocking(false)?;
    drop(first);
    second.expect(b"*ifmmp")
}

/// The log of all stages has colours on a terminal, unless the user turns them off. (The case `quiet` tests that a pipe
/// gets no colours.)
fn colours(binary: &str) -> Outcome {
    for (no_color, expected) in [("", true), ("1", false)] {
        let terminal = openpty(None, None)?;
        let mut command = Command::new(binary);
        command.arg("0").env("NO_COLOR", no_color);
        let mut server = command.stdout(Stdio::piped()).stderr(terminal.slave).spawn()?;
        drop(command); // and with it our end of what the server writes to
        let mut line = String::new();
        server.stdout.take().map(BufReader::new).map(|mut stdout| stdout.read_line(&mut line));
        kill(Pid::from_raw(server.id() as i32), Signal::SIGTERM)?;
        let status = server.wait()?;
        let mut log = Vec::new();
        // Linux says EIO when the other end is closed.
        let _ = File::from(terminal.master).read_to_end(&mut log);
        let log = String::from_utf8_lossy(&log);
        ensure(status.success() && log.contains("served 0 clients"), || {
            format!("{status}: {log}")
        })?;
        ensure(log.contains('\x1b') == expected, || format!("NO_COLOR={no_color}: {log:?}"))?;
    }
    Ok(())
}
