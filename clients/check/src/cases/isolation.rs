//! What one peer does ends that peer at most.

use crate::client::{Client, Outcome, ensure, wait_until};
use crate::{Case, Promise, Target};

pub(super) const CASES: &[Case] = &[
    case(
        "reset-idle",
        "a peer that resets the connection while the server waits for it",
        reset_idle,
    ),
    case("reset-unread", "a peer that resets while it has a large answer to fetch", reset_unread),
    case("reset-at-once", "peers that are gone before they are accepted", reset_before_greeting),
    case("no-descriptor-left-behind", "300 connections one after another leave none open", no_leak),
];

const fn case(name: &'static str, about: &'static str, run: fn(&Target) -> Outcome) -> Case {
    Case { name, promise: Promise::Isolation, about, needs_process: false, run }
}

fn reset_idle(target: &Target) -> Outcome {
    let server = target.server()?;
    for _ in 0..5 {
        let mut client = Client::greeted(server.address)?;
        client.echo(b"^half a mess")?;
        client.reset()?;
    }
    Client::greeted(server.address)?.echo(b"^still here$")
}

fn reset_unread(target: &Target) -> Outcome {
    let server = target.server()?;
    for _ in 0..5 {
        let mut client = Client::greeted(server.address)?;
        send_without_reading(&mut client, 4 * 1024 * 1024)?;
        client.reset()?;
    }
    Client::greeted(server.address)?.echo(b"^still here$")
}

/// Sends an open message, and reads nothing, until the server takes no more or `limit` bytes are sent; how many were.
pub(super) fn send_without_reading(
    client: &mut Client,
    limit: usize,
) -> Result<usize, crate::Failure> {
    use std::io::Write;
    use std::time::Duration;
    client.echo(b"^")?;
    client.stream.set_write_timeout(Some(Duration::from_millis(300)))?;
    let block = [b'a'; 64 * 1024];
    let mut sent = 0;
    while sent < limit {
        match client.stream.write(&block) {
            Ok(taken) => sent += taken,
            Err(error) if crate::client::is_timeout(&error) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sent)
}

fn reset_before_greeting(target: &Target) -> Outcome {
    let server = target.server()?;
    for _ in 0..50 {
        Client::connect(server.address)?.reset()?;
    }
    Client::greeted(server.address)?.echo(b"^still here$")
}

fn no_leak(target: &Target) -> Outcome {
    let server = target.server()?;
    let descriptors = || server.process.as_ref().and_then(|process| process.open_descriptors());
    // The first one may have made the server open something for good.
    Client::greeted(server.address)?.echo(b"^first$")?;
    let mut before = None;
    for round in 0..300 {
        let mut client = Client::greeted(server.address)?;
        client.echo(b"^hello$")?;
        if round == 0 {
            before = descriptors();
        }
        match round % 3 {
            0 => client.reset()?,
            1 => drop(client),
            _ => {
                client.half_close()?;
                client.expect_end(false)?;
            }
        }
    }
    // Where the process cannot be looked at, that it still answers has to do.
    let Some(before) = before else { return Client::greeted(server.address)?.echo(b"^last$") };
    wait_until("the descriptors of 300 connections are closed", || {
        descriptors().is_some_and(|now| now <= before)
    })?;
    ensure(before < 100, || format!("{before} descriptors for one client"))
}
