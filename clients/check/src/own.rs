//! What the tests of several stages do besides the cases.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{io, thread};

use ::client::raise_descriptor_limit;
use subprocess::Server;

use crate::client::{Client, Failure, Outcome, ensure};

/// With so many peers who say nothing the server uses no CPU time at all, and is there when one speaks.
///
/// # Errors
/// It does not hold.
pub fn idle_costs_nothing(binary: &str, arguments: &[&str], peers: usize) -> Outcome {
    raise_descriptor_limit()?;
    let server = Server::start(binary, arguments)?;
    let mut clients = Vec::new();
    for _ in 0..peers {
        clients.push(Client::greeted(server.address())?);
    }
    if let Some(before) = server.cpu_time() {
        thread::sleep(Duration::from_secs(1));
        let used = server.cpu_time().unwrap_or_default().saturating_sub(before);
        // /proc counts in hundredths of a second; two of them leave room for the end of the greetings.
        ensure(used <= Duration::from_millis(20), || {
            format!("{used:?} of CPU time in a second with {peers} idle peers")
        })?;
    }
    clients.iter_mut().try_for_each(|client| client.echo(b"^hello$"))
}

/// So many clients at once, or as many as there are descriptors for: each is greeted and answered, and an idle one takes at
/// most `most` bytes of the process's memory.
///
/// # Errors
/// It does not hold.
pub fn idle_memory(binary: &str, clients: usize, most: u64) -> Outcome {
    // Here and there a descriptor each, and a few for ourselves.
    let possible = raise_descriptor_limit()?.saturating_sub(100).min(clients);
    if possible < clients {
        eprintln!("with only {possible} clients, for want of descriptors");
    }
    let server = Server::start(binary, ["0", "-q"])?;
    let memory = || server.resident_memory();
    // The first few make the process touch what it touches once.
    let mut connected = Vec::new();
    let mut before = None;
    for number in 0..possible {
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
        let each = after.saturating_sub(before) / (possible as u64 - 100);
        println!("{each} bytes of user memory for an idle peer");
        ensure(each <= most, || format!("{each} bytes of user memory for an idle peer"))?;
    }
    let finished = server.stop()?;
    ensure(finished.status.success(), || format!("it ended with {}", finished.status))
}

/// The path of an example of the package whose test calls this. cargo builds the examples along with the tests, into the
/// folder beside theirs; but not when one test is picked by `--test`.
///
/// # Errors
/// It has not been built.
pub fn example(name: &str) -> Result<String, Failure> {
    let test = std::env::current_exe()?;
    let path =
        test.parent().and_then(Path::parent).unwrap_or(Path::new(".")).join("examples").join(name);
    ensure(path.exists(), || format!("first build the example: cargo build --example {name}"))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Whether a program reports that its output cannot be written (a full disk, Linux only), and does not mind when nobody
/// reads it. `command` makes the program's command.
///
/// # Errors
/// It does not, or it cannot be started.
pub fn reports_unwritable_output(command: impl Fn() -> Command) -> Outcome {
    let (reader, writer) = io::pipe()?;
    drop(reader);
    let output = command().stdout(writer).output()?;
    ensure(output.status.success(), || format!("nobody reads: {output:?}"))?;
    if cfg!(target_os = "linux") {
        let full = File::options().write(true).open("/dev/full")?;
        let output = command().stdout(full).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let right =
            output.status.code() == Some(1) && stderr.starts_with("error: cannot write the ");
        ensure(right, || format!("the disk is full: {output:?}"))?;
    }
    Ok(())
}
