//! Clients who mean harm: many that connect and then say nothing, or next to nothing.
//!
//! They cost the attacker a descriptor each and hardly any traffic. (The second kind is known as Slowloris, after a program by
//! Robert Hansen, 2009: it sent web servers one header line every few seconds, and never the last one.)

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use protocol::BEGIN;
use serde::Serialize;

/// What the clients do once they have connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Silent,
    /// Each sends one byte of a message that never ends every second, and reads the answer.
    Slow,
}

/// An attack.
#[derive(Clone, Debug)]
pub struct Attack {
    /// The server.
    pub address: SocketAddr,
    /// How many clients connect, all at once.
    pub clients: usize,
    /// What they do then.
    pub kind: Kind,
    /// For how long. None of them connects again if the server ends it.
    pub duration: Duration,
}

/// What the server did about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Endured {
    /// Clients that the server greeted.
    pub greeted: usize,
    /// Clients that it closed without a greeting.
    pub refused: usize,
    /// Clients that it greeted, and closed before the attack was over.
    pub ended: usize,
    /// Clients that were still connected in the end, in the backlog or in the server.
    pub open: usize,
}

struct Client {
    stream: TcpStream,
    greeted: bool,
    /// Whether the first byte of its message has been sent.
    begun: bool,
}

/// In a second each client has its turn to send. They are spread over this many ticks.
const TICKS: usize = 20;

/// Attacks until the time is over, or `stop` is set.
///
/// # Errors
/// A connection cannot even be begun: the descriptors or the ports are used up.
pub fn attack(attack: &Attack, stop: &AtomicBool) -> io::Result<Endured> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut endured = Endured::default();
    let mut clients = Vec::new();
    for number in 0..attack.clients {
        let mut stream = TcpStream::connect(attack.address)?;
        poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
        clients.push(Some(Client { stream, greeted: false, begun: false }));
    }
    let end = Instant::now() + attack.duration;
    let mut tick = 0;
    let mut due = Instant::now();
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        if Instant::now() >= due {
            due += Duration::from_secs(1) / TICKS as u32;
            tick += 1;
            if attack.kind == Kind::Slow {
                let on_turn = clients.iter_mut().skip(tick % TICKS).step_by(TICKS);
                on_turn.flatten().for_each(Client::drip);
            }
        }
        super::wait(&mut poll, &mut events, due.saturating_duration_since(Instant::now()))?;
        for event in events.iter() {
            let slot = &mut clients[event.token().0];
            let Some(client) = slot else { continue };
            let was_greeted = client.greeted;
            let is_open = client.listen();
            endured.greeted += usize::from(client.greeted && !was_greeted);
            if !is_open {
                let how = if client.greeted { &mut endured.ended } else { &mut endured.refused };
                *how += 1;
                *slot = None;
            }
        }
    }
    endured.open = clients.iter().flatten().count();
    Ok(endured)
}

impl Client {
    /// Sends one byte. If it cannot, because it is not connected yet or no more, there is nothing to do about it here.
    fn drip(&mut self) {
        let byte = if self.begun { b'a' } else { BEGIN };
        self.begun |= self.stream.write(&[byte]).is_ok();
    }

    /// Takes what has come; whether it is still connected.
    fn listen(&mut self) -> bool {
        let mut buffer = [0; 64];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(_) => self.greeted = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected);
                }
            }
        }
    }
}
