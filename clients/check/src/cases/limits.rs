//! What clients who mean harm can take: `--max-clients` and `--idle-timeout`.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use super::lifecycle::ended_well;
use crate::client::{Client, Outcome, ensure, is_timeout, wait_until};
use crate::{Case, Promise, Target};

pub(super) const CASES: &[Case] = &[
    case(
        "max-clients",
        "with --max-clients 1 a second client is not served while the first is there, and a third is when it has left",
        max_clients,
    ),
    case(
        "idle-timeout",
        "with --idle-timeout 1 a client that speaks stays, one that falls silent is ended, one that does not read too",
        idle_timeout,
    ),
];

const fn case(name: &'static str, about: &'static str, run: fn(&Target) -> Outcome) -> Case {
    Case { name, promise: Promise::Limits, about, needs_process: true, obstacle: || None, run }
}

fn max_clients(target: &Target) -> Outcome {
    let server = target.start(&["--max-clients", "1"])?;
    let mut first = Client::greeted(server.address())?;
    let mut second = Client::connect(server.address())?;
    // A server of one client at a time does not turn it away, and leaves it in the backlog: it may be silent for a while.
    second.stream.set_read_timeout(Some(Duration::from_millis(300)))?;
    let greeted = matches!(second.read(&mut [0]), Ok(1..));
    ensure(!greeted, || "a second client is served while the first is there".to_owned())?;
    first.echo(b"^hello$")?;
    drop((first, second));
    wait_until("another one is served", || {
        Client::greeted(server.address()).is_ok_and(|mut client| client.echo(b"^hello$").is_ok())
    })?;
    ended_well(&server.stop()?)
}

fn idle_timeout(target: &Target) -> Outcome {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let server = target.start(&["--idle-timeout", "1"])?;
    let mut client = Client::greeted(server.address())?;
    let mut spoke = Instant::now();
    let started = spoke;
    while started.elapsed() < 2 * TIMEOUT {
        thread::sleep(Duration::from_millis(50));
        // On a machine that was busy with other things for so long we have been silent ourselves.
        let was_silent = spoke.elapsed() > TIMEOUT / 2;
        spoke = Instant::now();
        match client.echo(b"^hello$") {
            Err(_) if was_silent => client = Client::greeted(server.address())?,
            outcome => outcome?,
        }
    }
    client.expect_end(false)?;
    let ended = spoke.elapsed();
    ensure(ended >= TIMEOUT, || format!("it was ended after {ended:?} of silence"))?;

    // What it sends is not read any more, because it does not read; nothing moves, and it is ended as well.
    let mut client = Client::greeted(server.address())?;
    client.stream.set_write_timeout(Some(Duration::from_millis(100)))?;
    client.send(b"^")?;
    let block = [b'a'; 64 * 1024];
    wait_until("a client that does not read is ended", || {
        client.stream.write(&block).is_err_and(|error| !is_timeout(&error))
    })?;
    Client::greeted(server.address())?.echo(b"^hello$")?;
    ended_well(&server.stop()?)
}
