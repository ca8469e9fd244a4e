//! All clients of a worker that waits for all of them at once.

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
    /// No clients yet. Tokens below `listeners` are taken.
    pub fn new(app: App, listeners: usize) -> Self {
        let last_token = listeners as u64;
        Clients { app, clients: HashMap::new(), input: vec![0; INPUT], last_token }
    }

    /// A connection has been accepted.
    pub fn on_connected(&mut self, stream: Stream, poller: &Poller) {
        let Ok(client) = Client::new(self.app, stream) else { return };
        let interest = client.interest();
        if interest == Interest::NONE {
            return; // it has been told everything
        }
        self.last_token += 1;
        match poller.add(&client.stream, self.last_token, interest) {
            Ok(()) => drop(self.clients.insert(self.last_token, client)),
            Err(error) => {
                warn!("peer {} refused: {}", client.stream.name(), server::describe(&error));
            }
        }
    }

    /// A client may have sent something, or may take more of what it is owed.
    pub fn on_ready(&mut self, event: Event, poller: &Poller) {
        let mut said = Vec::new();
        let input = &mut self.input;
        update(&mut self.clients, event.token, poller, |client| {
            client.on_ready(event, input, |line| said.push(line.to_vec()))
        });
        if said.is_empty() {
            return; // as nearly always: no other client is concerned
        }
        let others: Vec<_> = (self.clients.iter())
            .filter(|&(&token, client)| token != event.token && !client.leaving)
            .map(|(&token, _)| token)
            .collect();
        for (line, &token) in said.iter().flat_map(|line| others.iter().map(move |t| (line, t))) {
            update(&mut self.clients, token, poller, |client| client.send(line));
        }
    }
}

/// Does something for a client, and then makes the poller watch what it waits for now. Removes a client that has failed
/// or waits for nothing any more.
fn update(
    clients: &mut HashMap<u64, Client>,
    token: u64,
    poller: &Poller,
    action: impl FnOnce(&mut Client) -> io::Result<()>,
) {
    let Some(client) = clients.get_mut(&token) else { return };
    let before = client.interest();
    let outcome = action(client);
    let watched = client.then(outcome).and_then(|interest| match interest {
        _ if interest == before => Ok(()),
        _ => poller.modify(&client.stream, token, interest),
    });
    if watched.is_err() {
        clients.remove(&token);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};
    use std::time::Duration;

    use server::Listener;

    use super::*;

    #[test]
    fn who_has_left_hears_no_more() {
        let mut listener = Listener::bind("127.0.0.1", 0, 16).unwrap();
        listener.set_nonblocking().unwrap();
        let address = listener.local_address().unwrap();
        let mut poller = Poller::new().unwrap();
        let mut clients = Clients::new(App::Chat, 0);
        let mut connect = || {
            let client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let stream = loop {
                if let Some(stream) = listener.accept().unwrap() {
                    break stream;
                }
            };
            clients.on_connected(stream, &poller);
            client
        };
        let (mut leaves, mut talks) = (connect(), connect());
        let mut events = Vec::new();
        let mut turn = |clients: &mut Clients| {
            poller.wait(&mut events, Some(Duration::from_secs(20))).unwrap();
            events.iter().for_each(|&event| clients.on_ready(event, &poller));
        };

        // It is owed something when it leaves, so it stays.
        while clients.clients[&1].interest() == Interest::READ {
            talks.write_all(&[b"before ".repeat(100), b"\n".to_vec()].concat()).unwrap();
            turn(&mut clients);
        }
        leaves.shutdown(Shutdown::Write).unwrap();
        while !clients.clients[&1].leaving {
            turn(&mut clients);
        }
        talks.write_all(b"after\n").unwrap();
        let reader = std::thread::spawn(move || {
            let mut heard = String::new();
            leaves.read_to_string(&mut heard).map(|_| heard)
        });
        while clients.clients.contains_key(&1) {
            turn(&mut clients);
        }
        let heard = reader.join().unwrap().unwrap();
        assert!(heard.contains("before"));
        assert!(!heard.contains("after"), "{}", &heard[heard.len() - 20..]);
    }
}
