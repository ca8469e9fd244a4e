//! Peers that go on sending while the server is told to stop, and read only then.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use protocol::BEGIN;

use crate::client::{Client, Failure, Outcome};

/// How long they talk before the server is told to stop, and half of it after that: long enough for many answers.
const TALK: Duration = Duration::from_millis(100);

/// How much a peer says at a time, in bytes, and how long it pauses after it.
const BLOCK: usize = 500;
const BREATH: Duration = Duration::from_micros(500);

/// What a peer sends at each position of its message: a letter, and at neighbouring positions not the same.
fn sent_at(position: usize) -> u8 {
    b'a' + (position % 25) as u8
}

/// A peer with a thread that sends an open message without end.
pub(crate) struct Talker {
    client: Client,
    sender: JoinHandle<Outcome>,
    enough: Arc<AtomicBool>,
}

/// Connects `count` peers, and keeps those that the server greets: a sequential one greets one at a time. Returns when
/// they have talked for a while.
pub(crate) fn talkers(address: SocketAddr, count: usize) -> Result<Vec<Talker>, Failure> {
    let clients = (0..count).map(|_| Client::connect_with_small_buffers(address));
    let mut talkers = Vec::new();
    for client in Client::greeted_within(TALK, clients.collect::<Result<_, _>>()?)? {
        let (stream, enough) = (client.stream.try_clone()?, Arc::new(AtomicBool::new(false)));
        let until = Arc::clone(&enough);
        talkers.push(Talker {
            client,
            sender: thread::spawn(move || talk(stream, &until)),
            enough,
        });
    }
    thread::sleep(TALK);
    Ok(talkers)
}

/// Sends until it is `enough`. An error before that is a reset: the server has closed, and did not read on.
fn talk(mut stream: TcpStream, enough: &AtomicBool) -> Outcome {
    let mut result = stream.write_all(&[BEGIN]);
    let mut position = 0;
    while result.is_ok() && !enough.load(Ordering::Relaxed) {
        let block: Vec<_> = (position..position + BLOCK).map(sent_at).collect();
        result = stream.write_all(&block);
        position += BLOCK;
        thread::sleep(BREATH);
    }
    match result {
        Err(error) if !enough.load(Ordering::Relaxed) => Err(reset(&error)),
        _ => Ok(()),
    }
}

fn reset(error: &io::Error) -> Failure {
    Failure(format!("a connection did not end in order, and what was on its way is lost: {error}"))
}

/// Lets them talk on for a moment, and then reads each to its end, while it still talks; returns how many bytes came in all.
///
/// # Errors
/// What came is not the answer to what was sent, byte by byte; or a connection was reset before its end.
pub(crate) fn read_all(talkers: Vec<Talker>) -> Result<usize, Failure> {
    thread::sleep(TALK / 2);
    let received: Vec<_> = talkers.into_iter().map(Talker::read_to_end).collect();
    received.into_iter().sum()
}

impl Talker {
    fn read_to_end(mut self) -> Result<usize, Failure> {
        let answer = self.read_answer();
        self.enough.store(true, Ordering::Relaxed);
        let _ = self.client.stream.shutdown(Shutdown::Both); // it may sleep in send
        let sent = self.sender.join().map_err(|_| Failure("a thread panicked".to_owned()))?;
        sent.and(answer)
    }

    fn read_answer(&mut self) -> Result<usize, Failure> {
        let mut received = 0;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = self.client.read(&mut buffer).map_err(|error| reset(&error))?;
            if length == 0 {
                return Ok(received);
            }
            let right = |(position, &byte): (usize, &u8)| byte == sent_at(position) + 1;
            if let Some((position, _)) = (received..).zip(&buffer[..length]).find(|&at| !right(at))
            {
                return Err(Failure(format!("byte {position} of the answer is wrong")));
            }
            received += length;
        }
    }
}
