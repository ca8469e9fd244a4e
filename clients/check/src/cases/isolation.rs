//! What one peer does ends that peer at most.

use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, Failure, Outcome, ensure, is_timeout, patience, wait_until};
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
    Case { name, promise: Promise::Isolation, about, needs_process: false, obstacle: || None, run }
}

fn reset_idle(target: &Target) -> Outcome {
    reset_next_to_a_bystander(target, |peer| peer.echo(b"^half a mess"))
}

fn reset_unread(target: &Target) -> Outcome {
    reset_next_to_a_bystander(target, |peer| {
        send_without_reading(peer, 4 * 1024 * 1024).map(|_sent| ())
    })
}

/// Five times a peer does `before` and resets, while another is connected. That one must not notice, and is the next to
/// reset.
fn reset_next_to_a_bystander(target: &Target, before: impl Fn(&mut Client) -> Outcome) -> Outcome {
    let server = target.server()?;
    let mut peer = Client::greeted(server.address)?;
    for _ in 0..5 {
        before(&mut peer)?;
        let mut bystander = newcomer(server.address)?;
        peer.reset()?;
        bystander.expect_greeting().and_then(|()| bystander.echo(b"^hello$")).map_err(unharmed)?;
        peer = bystander;
    }
    // A server may be slow to do harm.
    thread::sleep(Duration::from_millis(50));
    peer.echo(b"^still here$").map_err(unharmed)?;
    drop(peer);
    Client::greeted(server.address)?.echo(b"^still here$")
}

/// Connects, and gives the server a moment to greet. A sequential one does not greet while it serves another peer, so
/// the greeting is not demanded and not taken.
fn newcomer(address: SocketAddr) -> Result<Client, Failure> {
    let client = Client::connect(address)?;
    client.stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    let _ = client.stream.peek(&mut [0]);
    client.stream.set_read_timeout(Some(patience()))?;
    Ok(client)
}

fn unharmed(Failure(text): Failure) -> Failure {
    Failure(format!("a bystander of the reset: {text}"))
}

/// Sends an open message, and reads nothing, until the server takes no more for a moment or `limit` bytes are sent;
/// returns how many were.
pub(super) fn send_without_reading(client: &mut Client, limit: usize) -> Result<usize, Failure> {
    send_for_as_long_as_it_takes(client, limit, Duration::from_millis(300))
}

/// The same, until it has taken nothing for as long as `pause`; or until our patience ends, if it still takes more.
pub(super) fn send_for_as_long_as_it_takes(
    client: &mut Client,
    limit: usize,
    pause: Duration,
) -> Result<usize, Failure> {
    client.echo(b"^")?;
    client.stream.set_write_timeout(Some(pause))?;
    let block = [b'a'; 64 * 1024];
    let mut sent = 0;
    let deadline = Instant::now() + patience();
    while sent < limit && Instant::now() < deadline {
        match client.stream.write(&block) {
            Ok(taken) => {
                client.will_send(&block[..taken]);
                sent += taken;
            }
            Err(error) if is_timeout(&error) => break,
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
    let mut bystander = Client::greeted(server.address)?;
    for _ in 0..5 {
        Client::connect(server.address)?.reset()?;
        // Greeted after the other has been accepted, unless the server is sequential.
        let mut next = newcomer(server.address)?;
        bystander.echo(b"^hello$").map_err(unharmed)?;
        drop(bystander);
        next.expect_greeting()?;
        bystander = next;
    }
    bystander.echo(b"^still here$")
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
    // If we cannot look at the process, it is enough that it still answers.
    let Some(before) = before else { return Client::greeted(server.address)?.echo(b"^last$") };
    wait_until("the descriptors of 300 connections are closed", || {
        descriptors().is_some_and(|now| now <= before)
    })?;
    ensure(before < 100, || format!("{before} descriptors for one client"))
}
