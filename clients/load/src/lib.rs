//! A load generator for servers of the course's protocol: C connections, each a closed loop of messages, every byte of
//! every answer checked.
//!
//! *Closed loop* means that a connection sends its next message when the last has been answered, so a slow server is
//! asked less. That flatters its latency: the messages that would have been sent meanwhile, and would have waited, are
//! not counted (Gil Tene calls it coordinated omission). With a rate the loop is open: each message has a time at which
//! it is due, and its latency counts from then, whether or not it could be sent.
//!
//! One thread drives all connections through a poller, so that it is not the bottleneck of what it measures.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};
use protocol::{BEGIN, END};
use serde::Serialize;

mod connection;

use connection::Connection;

/// What to do to a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub address: SocketAddr,
    /// How many connections send messages.
    pub connections: usize,
    /// How many more are connected and say nothing.
    pub idle: usize,
    /// The payload of a message, in bytes.
    pub size: usize,
    /// How long to send.
    pub duration: Duration,
    /// Messages per second, all connections together; none for a closed loop.
    pub rate: Option<f64>,
    /// How long the server may be silent when it owes an answer.
    pub timeout: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Messages that were answered.
    pub messages: u64,
    /// From the first message to the last answer, in seconds.
    pub seconds: f64,
    /// Answered messages per second.
    pub messages_per_second: f64,
    /// Payload per second, in one direction, in megabytes (10^6 bytes).
    pub megabytes_per_second: f64,
    /// Latency in microseconds.
    pub latency: Latency,
    /// What went wrong; a connection that failed sends no more.
    pub errors: Vec<String>,
}

/// Percentiles of the time from a message's due time to the last byte of its answer, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

/// The message, framed, and what must come back for it.
struct Exchange {
    message: Vec<u8>,
    answer: Vec<u8>,
}

/// Connects, waits until everybody has been greeted, sends for as long as the options say.
///
/// # Errors
/// A connection cannot be made, or is not greeted in time. What goes wrong later is in the report.
pub fn run(options: &Options) -> io::Result<Report> {
    let payload: Vec<u8> = (b'a'..=b'z').cycle().take(options.size).collect();
    let answer = payload.iter().map(|byte| byte + 1).collect();
    let exchange = Exchange { message: [&[BEGIN], &payload[..], &[END]].concat(), answer };

    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut connections = connect(options, &mut poll, &mut events)?;
    let idle = connections.split_off(options.connections);
    let mut load = Load {
        exchange,
        connections,
        // Nanoseconds up to a minute, to three digits.
        histogram: Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(io::Error::other)?,
        messages: 0,
        errors: Vec::new(),
        interval: options
            .rate
            .map(|rate| Duration::from_secs_f64(options.connections as f64 / rate)),
    };
    let started = Instant::now();
    load.run(&mut poll, &mut events, started, options)?;
    drop(idle);
    Ok(load.report(started.elapsed(), options.size))
}

fn connect(options: &Options, poll: &mut Poll, events: &mut Events) -> io::Result<Vec<Connection>> {
    let count = options.connections + options.idle;
    let mut connections = Vec::with_capacity(count);
    let mut greeted = 0;
    while greeted < count {
        // A few hundred at a time, so that no backlog overflows.
        while connections.len() < count && connections.len() - greeted < 256 {
            let mut connection = Connection::open(options.address).map_err(|error| {
                let number = connections.len() + 1;
                io::Error::new(error.kind(), format!("connection {number} of {count}: {error}"))
            })?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut connection.stream, Token(connections.len()), interest)?;
            connections.push(connection);
        }
        poll.poll(events, Some(options.timeout))?;
        if events.is_empty() {
            let text = format!("only {greeted} of {count} connections were greeted");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        for event in events.iter() {
            if connections[event.token().0].greeting()? {
                greeted += 1;
            }
        }
    }
    Ok(connections)
}

/// A run in progress.
struct Load {
    exchange: Exchange,
    connections: Vec<Connection>,
    histogram: Histogram<u64>,
    messages: u64,
    errors: Vec<String>,
    /// Between two messages of one connection, with a rate.
    interval: Option<Duration>,
}

impl Load {
    fn run(
        &mut self,
        poll: &mut Poll,
        events: &mut Events,
        started: Instant,
        options: &Options,
    ) -> io::Result<()> {
        let end = started + options.duration;
        for number in 0..self.connections.len() {
            // With a rate the connections take turns, evenly spread over an interval.
            let share = number as f64 / self.connections.len() as f64;
            let offset = self.interval.map_or(Duration::ZERO, |interval| interval.mul_f64(share));
            self.connections[number].due = started + offset;
            self.advance(number, end);
        }
        let mut last_answer = (self.messages, Instant::now());
        while self.connections.iter().any(|connection| connection.is_busy(end)) {
            poll.poll(events, Some(self.next_due(end)))?;
            for event in events.iter() {
                self.advance(event.token().0, end);
            }
            if self.interval.is_some() {
                (0..self.connections.len()).for_each(|number| self.advance(number, end));
            }
            let now = Instant::now();
            if self.messages > last_answer.0 || self.connections.iter().all(|c| !c.is_owed()) {
                last_answer = (self.messages, now);
            } else if now - last_answer.1 > options.timeout {
                self.errors.push(format!("no answer for {:?}", options.timeout));
                break;
            }
        }
        Ok(())
    }

    /// How long to wait for news: until somebody's next message is due, and a tenth of a second at the most, to look
    /// whether it is over.
    fn next_due(&self, end: Instant) -> Duration {
        let longest = Duration::from_millis(100);
        if self.interval.is_none() {
            return longest;
        }
        let now = Instant::now();
        let waiting = self.connections.iter().filter(|connection| !connection.is_owed());
        let next = waiting.map(|connection| connection.due.min(end)).min();
        next.map_or(longest, |due| due.saturating_duration_since(now).min(longest))
    }

    /// Takes one connection as far as it will go: answers in, messages out.
    fn advance(&mut self, number: usize, end: Instant) {
        // The idle ones are not ours to advance.
        let Some(connection) =
            self.connections.get_mut(number).filter(|connection| !connection.failed)
        else {
            return;
        };
        loop {
            match connection.exchange(&self.exchange, end) {
                Ok(None) => return,
                Ok(Some(due)) => {
                    self.messages += 1;
                    let nanoseconds = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    self.histogram.saturating_record(nanoseconds.max(1));
                    connection.due = match self.interval {
                        Some(interval) => due + interval,
                        None => Instant::now(),
                    };
                }
                Err(error) => {
                    connection.failed = true;
                    self.errors.push(format!("connection {number}: {error}"));
                    return;
                }
            }
        }
    }

    fn report(self, elapsed: Duration, size: usize) -> Report {
        let microseconds = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1e3;
        let per_second = self.messages as f64 / elapsed.as_secs_f64();
        Report {
            messages: self.messages,
            seconds: elapsed.as_secs_f64(),
            messages_per_second: per_second,
            megabytes_per_second: per_second * size as f64 / 1e6,
            latency: Latency {
                p50: microseconds(0.5),
                p90: microseconds(0.9),
                p99: microseconds(0.99),
                p99_9: microseconds(0.999),
                max: self.histogram.max() as f64 / 1e3,
            },
            errors: self.errors,
        }
    }
}
