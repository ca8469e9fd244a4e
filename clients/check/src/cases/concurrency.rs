//! No peer waits for another one.

use std::thread;
use std::time::Duration;

use protocol::reference::reply_to;

use crate::client::{Client, Failure, Outcome};
use crate::{Case, Promise, Target};

use super::isolation::send_without_reading;

pub(super) const CASES: &[Case] = &[
    case("silent-peer", "a peer that says nothing holds up nobody", silent_peer),
    case(
        "open-message-peer",
        "a peer in the middle of a message holds up nobody",
        open_message_peer,
    ),
    case(
        "peer-that-does-not-read",
        "a peer that does not fetch what it is owed holds up nobody",
        unread_peer,
    ),
    case(
        "interleaved",
        "50 peers speak in turn, a byte at a time, each with a state of its own",
        interleaved,
    ),
    case("500-at-once", "500 peers connect at once, and each is answered", five_hundred),
];

const fn case(name: &'static str, about: &'static str, run: fn(&Target) -> Outcome) -> Case {
    Case {
        name,
        promise: Promise::Concurrency,
        about,
        needs_process: false,
        obstacle: || None,
        run,
    }
}

fn silent_peer(target: &Target) -> Outcome {
    let server = target.server()?;
    let mut silent = Client::greeted(server.address)?;
    let mut unheard = Client::connect(server.address)?;
    Client::greeted(server.address)?.echo(b"^hello$")?;
    // And its silence does it no harm, however long.
    thread::sleep(Duration::from_millis(1500));
    unheard
        .expect_greeting()
        .and_then(|()| unheard.echo(b"^at last$"))
        .and_then(|()| silent.echo(b"^at last$"))
        .map_err(|Failure(text)| Failure(format!("after 1.5 s of silence: {text}")))
}

fn open_message_peer(target: &Target) -> Outcome {
    let server = target.server()?;
    let mut open = Client::greeted(server.address)?;
    open.echo(b"^abc")?;
    Client::greeted(server.address)?.echo(b"^hello$")?;
    open.send(b"def$")?;
    open.expect(b"efg")
}

fn unread_peer(target: &Target) -> Outcome {
    let server = target.server()?;
    let mut unread = Client::greeted(server.address)?;
    send_without_reading(&mut unread, 64 * 1024 * 1024)?;
    for _ in 0..3 {
        Client::greeted(server.address)?.echo(b"^hello$")?;
    }
    Ok(())
}

fn interleaved(target: &Target) -> Outcome {
    let server = target.server()?;
    let message = b"ab^cd$ef^gh";
    // Each begins elsewhere, so that at any time they are in different places of the protocol.
    let mut peers = Vec::new();
    for start in 0..50 {
        let text: Vec<u8> =
            message.iter().cycle().skip(start).take(3 * message.len()).copied().collect();
        peers.push((Client::greeted(server.address)?, text));
    }
    for step in 0..3 * message.len() {
        for (client, text) in &mut peers {
            client.send(&text[step..=step])?;
        }
    }
    for (client, text) in &mut peers {
        client.expect(&reply_to(text))?;
        client.half_close()?;
        client.expect_end(false)?;
    }
    Ok(())
}

fn five_hundred(target: &Target) -> Outcome {
    let server = target.server()?;
    let mut clients = Vec::new();
    for _ in 0..500 {
        clients.push(Client::connect(server.address)?);
    }
    for client in &mut clients {
        client.send(b"^hello$")?;
    }
    for client in &mut clients {
        client.expect(b"*ifmmp")?;
    }
    Ok(())
}
