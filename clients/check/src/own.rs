//! What the tests of several stages do besides the cases.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{io, thread};

use ::client::raise_descriptor_limit;
use subprocess::Server;

use crate::client::{Client, Failure, Outcome, ensure};

/// With so many silent peers the server uses no CPU time at all, and still answers when they speak.
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

/// An idle peer takes at most `most` bytes of the process's memory, with `peers` of them, or as many as the descriptors
/// allow.
///
/// # Errors
/// It does not hold.
pub fn idle_memory(binary: &str, peers: usize, most: u64) -> Outcome {
    // A peer needs a descriptor on both sides, and we need a few.
    let possible = raise_descriptor_limit()?.saturating_sub(100).min(peers);
    if possible < peers {
        eprintln!("with only {possible} peers: there are too few descriptors");
    }
    let Some(each) = memory_of_idle_peers(binary, possible)? else { return Ok(()) };
    println!("{each} bytes of user memory for an idle peer");
    ensure(each <= most, || format!("{each} bytes of user memory for an idle peer"))
}

/// How many bytes of the server's memory each of `peers` peers takes. All are there at once, and each was greeted,
/// answered, and is idle since. Returns `None` if the system does not say.
///
/// # Errors
/// The server does not serve them, or there are too few of them to tell.
pub fn memory_of_idle_peers(
    binary: impl AsRef<OsStr>,
    peers: usize,
) -> Result<Option<u64>, Failure> {
    // The first peers make the process touch memory that it touches only once.
    const FIRST: usize = 100;
    ensure(peers > FIRST, || format!("{peers} peers are too few to tell"))?;
    let server = Server::start(binary, ["0", "-q"])?;
    let mut clients = Vec::new();
    let mut before = None;
    for number in 0..peers {
        if number == FIRST {
            clients.iter_mut().try_for_each(Client::expect_greeting)?;
            before = server.resident_memory();
        }
        clients.push(Client::connect(server.address())?);
    }
    clients[FIRST..].iter_mut().try_for_each(Client::expect_greeting)?;
    clients.iter_mut().try_for_each(|client| client.send(b"^hello$"))?;
    clients.iter_mut().try_for_each(|client| client.expect(b"ifmmp"))?;
    let after = server.resident_memory();
    let finished = server.stop()?;
    ensure(finished.status.success(), || format!("it ended with {}", finished.status))?;
    let taken = after.zip(before).map(|(after, before)| after.saturating_sub(before));
    Ok(taken.map(|taken| taken / (peers - FIRST) as u64))
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

/// A program reports that its output cannot be written (a full disk, Linux only), and accepts that its reader has left.
/// `command` makes the program's command.
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
