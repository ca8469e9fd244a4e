//! All clients of a worker that waits for everybody at once.

use std::collections::HashMap;
use std::io;

use server::Stream;
use step6_epoll_kqueue::{Event, Interest, Poller};
use tracing::warn;

use crate::App;
use crate::app::{Client, INPUT};

/// The clients, each under the token by which the poller knows it.
#[derive(Debug)]
pub struct Clients {
    app: App,
    clients: HashMap<u64, Client>,
    input: Vec<u8>,
    last_token: u64,
}

impl Clients {
    /// None yet. Tokens below `listeners` are taken.
    pub fn new(app: App, listeners: usize) -> Self {
        let last_token = listeners as u64;
        Clients { app, clients: HashMap::new(), input: vec![0; INPUT], last_token }
    }

    /// A connection has been accepted.
    pub fn on_connected(&mut self, stream: Stream, poller: &Poller) {
        let Ok(client) = Client::new(self.app, stream) else { return };
        let interest = client.interest();
        if interest == Interest::NONE {
            return; // it has been told all that there is
        }
        self.last_token += 1;
        match poller.add(&client.stream, self.last_token, interest) {
            Ok(()) => drop(self.clients.insert(self.last_token, client)),
            Err(error) => {
                warn!("peer {} refused: {}", client.stream.name(), server::describe(&error));
            }
        }
    }

    /// A client may have something to say, or room for what it is owed.
    pub fn on_ready(&mut self, event: Event, poller: &Poller) {
        let mut said = Vec::new();
        let input = &mut self.input;
        update(&mut self.clients, event.token, poller, |client| {
            if event.writable {
                client.flush()?;
            }
            if event.readable && client.interest().read {
                client.receive(input, |line| said.push(line.to_vec()))?;
            }
            Ok(())
        });
        let others: Vec<_> =
            self.clients.keys().copied().filter(|&token| token != event.token).collect();
        for (line, &token) in said.iter().flat_map(|line| others.iter().map(move |t| (line, t))) {
            update(&mut self.clients, token, poller, |client| client.send(line));
        }
    }
}

/// Does something for a client, and then has the poller watch what it waits for now. A client that waits for nothing any
/// more is gone, and so is one that has failed.
fn update(
    clients: &mut HashMap<u64, Client>,
    token: u64,
    poller: &Poller,
    action: impl FnOnce(&mut Client) -> io::Result<()>,
) {
    let Some(client) = clients.get_mut(&token) else { return };
    let before = client.interest();
    let outcome = match action(client) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        outcome => outcome,
    };
    let interest = client.interest();
    let watched = outcome.and_then(|()| match interest {
        Interest::NONE => Err(io::ErrorKind::NotConnected.into()),
        _ if interest == before => Ok(()),
        _ => poller.modify(&client.stream, token, interest),
    });
    if watched.is_err() {
        clients.remove(&token);
    }
}
