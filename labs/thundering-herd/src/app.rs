//! What is done with a connection once it is accepted. The lab's question ends there; this is so that it is a server.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::process;

use clap::ValueEnum;
use nix::libc::PIPE_BUF;
use peer::{Buffers, Interest, Peer, on_peer_connected, on_peer_ready_recv, on_peer_ready_send};
use server::{Stream, serve_connection, shutdown};
use step6_epoll_kqueue::{Event, Poller, Trigger};
use tracing::{info, warn};

/// What the workers do for their clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum App {
    /// Print each line that a client sends: `PID received: msg001`
    Print,
    /// Tell the client which process serves it, and close
    Pid,
    /// The course's echo protocol
    Echo,
    /// Send each line that a client sends to the other clients of the same worker
    Chat,
}

impl App {
    /// Serves one client to the end; every call may sleep. The stream has logged what went wrong.
    pub fn serve(self, mut stream: Stream) {
        let _ended_by_the_peer = match self {
            App::Echo => {
                serve_connection(stream);
                Ok(())
            }
            App::Pid => say_who(&mut stream),
            App::Print | App::Chat => print_all(&mut stream),
        };
    }
}

/// A few bytes into an empty socket buffer: they fit, blocking or not.
fn say_who(stream: &mut Stream) -> io::Result<()> {
    stream.write_all(format!("{}\n", process::id()).as_bytes())
}

fn print_all(stream: &mut Stream) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut input = vec![0; 4096];
    loop {
        match stream.read(&mut input)? {
            0 => break,
            received => lines.split(&input[..received], print),
        }
    }
    lines.finish(print);
    Ok(())
}

fn print(line: &[u8]) {
    let line = String::from_utf8_lossy(line.trim_ascii_end());
    // One write for the whole line: a pipe keeps short writes of several processes apart (pipe(7), PIPE_BUF).
    let _ = io::stdout().write_all(format!("{} received: {line}\n", process::id()).as_bytes());
}

/// Puts lines together again from what recv takes off the stream in pieces.
#[derive(Debug, Default)]
struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    /// A longer line is passed on in pieces: nobody can have us store without end, and what is printed of it fits into
    /// what a pipe keeps together, even if each byte has to be shown as a replacement character of three.
    const LONGEST: usize = (PIPE_BUF - "4294967295 received: \n".len()) / 3;

    fn split(&mut self, input: &[u8], mut on_line: impl FnMut(&[u8])) {
        for line in input.split_inclusive(|&byte| byte == b'\n') {
            let mut rest = line;
            while !rest.is_empty() {
                let (piece, after) =
                    rest.split_at(rest.len().min(Self::LONGEST - self.unfinished.len()));
                self.unfinished.extend_from_slice(piece);
                rest = after;
                if self.unfinished.ends_with(b"\n") || self.unfinished.len() == Self::LONGEST {
                    on_line(&self.unfinished);
                    self.unfinished.clear();
                }
            }
        }
    }

    /// What the client has left without its end of line.
    fn finish(&mut self, mut on_line: impl FnMut(&[u8])) {
        if !self.unfinished.is_empty() {
            on_line(&self.unfinished);
            self.unfinished.clear();
        }
    }
}

/// All clients of a worker that waits for everybody at once.
#[derive(Debug)]
pub struct Clients {
    app: App,
    talkers: HashMap<u64, Talker>,
    peers: HashMap<u64, Peer<Stream>>,
    buffers: Buffers,
    input: Vec<u8>,
    last_token: u64,
}

/// A client of [`App::Print`] or [`App::Chat`].
#[derive(Debug)]
struct Talker {
    stream: Stream,
    lines: Lines,
    outbox: Vec<u8>,
    /// It will say no more, and stays only for what it is owed.
    leaving: bool,
    watched: Interest,
}

impl Talker {
    /// What may wait for a client that does not read. Who is owed more is sent away, as IRC servers do it.
    const HIGH_WATER_MARK: usize = 64 * 1024;

    fn interest(&self) -> Interest {
        match (self.leaving, self.outbox.is_empty()) {
            (true, true) => Interest::NONE,
            (true, false) => Interest::WRITE,
            (false, true) => Interest::READ,
            (false, false) => Interest::BOTH,
        }
    }

    /// Sends what the socket takes; false if that was this client's end.
    fn send(&mut self) -> bool {
        match peer::send(&mut self.stream, &self.outbox) {
            Ok(sent) => {
                self.outbox.drain(..sent);
                true
            }
            Err(_) => false,
        }
    }
}

impl Clients {
    /// None yet. Tokens below `listeners` are taken.
    pub fn new(app: App, listeners: usize) -> Self {
        Clients {
            app,
            talkers: HashMap::new(),
            peers: HashMap::new(),
            buffers: Buffers::new(),
            input: vec![0; 4096],
            last_token: listeners as u64,
        }
    }

    /// A connection has been accepted.
    pub fn on_connected(&mut self, mut stream: Stream, poller: &Poller) {
        if self.app == App::Pid {
            let _ended_by_the_peer = say_who(&mut stream);
            return;
        }
        self.last_token += 1;
        let token = self.last_token;
        let interest = if self.app == App::Echo { Interest::WRITE } else { Interest::READ };
        if let Err(error) = poller.add(&stream, token, interest, Trigger::Level) {
            warn!("peer {} refused: {}", stream.name(), server::describe(&error));
        } else if self.app == App::Echo {
            self.peers.insert(token, on_peer_connected(stream));
        } else {
            let talker = Talker {
                stream,
                lines: Lines::default(),
                outbox: Vec::new(),
                leaving: false,
                watched: interest,
            };
            self.talkers.insert(token, talker);
        }
    }

    /// A client may have something to say, or room for what it is owed.
    pub fn on_ready(&mut self, event: Event, poller: &Poller) {
        if self.app == App::Echo {
            self.on_peer_ready(event.token, poller);
        } else {
            self.on_talker_ready(event, poller);
        }
    }

    /// As step 6 does it.
    fn on_peer_ready(&mut self, token: u64, poller: &Poller) {
        let Some(peer) = self.peers.get_mut(&token) else { return };
        let before = peer.interest();
        let result = match before {
            Interest::WRITE => on_peer_ready_send(peer),
            _ => on_peer_ready_recv(peer, &mut self.buffers),
        };
        let interest = match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => before,
            result => result.unwrap_or(Interest::NONE),
        };
        let watched = interest == before
            || poller.modify(&peer.stream, token, interest, Trigger::Level).is_ok();
        if interest == Interest::NONE || !watched {
            self.peers.remove(&token);
        }
    }

    fn on_talker_ready(&mut self, event: Event, poller: &Poller) {
        let Some(talker) = self.talkers.get_mut(&event.token) else { return };
        let mut stays = !event.writable || talker.send();
        let mut said = Vec::new();
        if stays && event.readable && !talker.leaving {
            let mut on_line = |line: &[u8]| said.push(line.to_vec());
            match talker.stream.read(&mut self.input) {
                Ok(0) => {
                    talker.lines.finish(&mut on_line);
                    talker.leaving = true;
                }
                Ok(received) => talker.lines.split(&self.input[..received], &mut on_line),
                Err(error) => stays = error.kind() == ErrorKind::WouldBlock,
            }
        }
        if stays {
            self.update(event.token, poller);
        } else {
            self.talkers.remove(&event.token);
        }
        for line in said {
            if self.app == App::Print {
                print(&line);
            } else {
                self.tell_the_others(event.token, &line, poller);
            }
        }
    }

    fn tell_the_others(&mut self, speaker: u64, line: &[u8], poller: &Poller) {
        let listens = |(&token, talker): (&u64, &Talker)| {
            (token != speaker && !talker.leaving).then_some(token)
        };
        let others: Vec<_> = self.talkers.iter().filter_map(listens).collect();
        for token in others {
            let Some(talker) = self.talkers.get_mut(&token) else { continue };
            talker.outbox.extend_from_slice(line);
            let stays = talker.send();
            if stays && talker.outbox.len() <= Talker::HIGH_WATER_MARK {
                self.update(token, poller);
                continue;
            }
            if stays {
                info!("peer {} does not read what it is owed", talker.stream.name());
            }
            self.talkers.remove(&token);
        }
    }

    /// Has the poller watch for writability while something is owed, and only then. Who has said everything and is owed
    /// nothing is gone.
    fn update(&mut self, token: u64, poller: &Poller) {
        let Some(talker) = self.talkers.get_mut(&token) else { return };
        let interest = talker.interest();
        if interest == Interest::NONE {
            self.talkers.remove(&token);
            return;
        }
        if interest == talker.watched {
            return;
        }
        match poller.modify(&talker.stream, token, interest, Trigger::Level) {
            Ok(()) => talker.watched = interest,
            // Nobody would hear of it again.
            Err(_) => drop(self.talkers.remove(&token)),
        }
    }

    /// The worker is to stop: sends what is owed, for as long as the grace period lasts.
    pub fn finish(&mut self) {
        peer::send_what_is_owed(self.peers.values_mut(), shutdown::expired);
        let send = |talker: &mut Talker| talker.send() && !talker.outbox.is_empty();
        peer::send_to_all(self.talkers.values_mut(), send, shutdown::expired);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut said = Vec::new();
        for piece in pieces {
            lines.split(piece, |line| said.push(line.to_vec()));
        }
        lines.finish(|line| said.push(line.to_vec()));
        said
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let whole = lines(&[b"one\ntwo\n\nthree"]);
        assert_eq!(whole, [&b"one\n"[..], b"two\n", b"\n", b"three"]);
        let bytes: Vec<&[u8]> = b"one\ntwo\n\nthree".chunks(1).collect();
        assert_eq!(lines(&bytes), whole);
    }

    #[test]
    fn a_line_without_end_is_passed_on_in_pieces() {
        let said = lines(&[&[b'x'; 1000][..]; 10]);
        assert_eq!(said.concat().len(), 10_000);
        assert!(said.len() > 1);
    }
}
