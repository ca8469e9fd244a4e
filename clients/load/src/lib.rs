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

pub mod attack;
mod connection;

use connection::Connection;

/// What to do to a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub address: SocketAddr,
    /// How many connections send messages.
    pub connections: usize,
    /// How many more are connected and say nothing. One that is not connected any more in the end is an error.
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
    /// From the first message to the last answer, in seconds; 0 if there was none. With a rate, the whole duration at
    /// the least, unless messages or connections ran out before.
    pub seconds: f64,
    /// Answered messages per second.
    pub messages_per_second: f64,
    /// Payload per second, in one direction, in megabytes (10^6 bytes).
    pub megabytes_per_second: f64,
    /// Latency in microseconds.
    pub latency: Latency,
    /// Messages that were due and never sent: the server was so far behind its rate that time was up first. The latency
    /// knows nothing of them, and would be worse.
    pub unsent: u64,
    /// What went wrong; a connection that failed sends no more.
    pub errors: Vec<String>,
}

/// How much may be sent.
struct Limits {
    /// Nothing that is due later is sent.
    end: Instant,
    /// What was due before is sent late, but no later than this.
    latest: Instant,
    /// How many more may be begun.
    messages: u64,
}

impl Limits {
    fn new(started: Instant, options: &Options, messages: u64) -> Self {
        let end = started + options.duration;
        Limits { end, latest: end + options.timeout, messages }
    }

    /// Whether a message that is due at `due` may be begun, now or later.
    fn allow(&self, due: Instant) -> bool {
        self.messages > 0 && due < self.end && Instant::now() < self.latest
    }
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

impl Exchange {
    fn new(size: usize) -> Self {
        let payload: Vec<u8> = (b'a'..=b'z').cycle().take(size).collect();
        let answer = payload.iter().map(|byte| byte + 1).collect();
        Exchange { message: [&[BEGIN], &payload[..], &[END]].concat(), answer }
    }
}

/// Is told how many messages have been answered so far, about ten times a second; says whether to go on. If not, the run
/// ends at once, and answers that are under way are not waited for.
pub type Watch<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Connects, waits until everybody has been greeted, sends for as long as the options say.
///
/// With a rate, messages that were due in that time and could not be sent yet are sent afterwards, for as long as the
/// timeout: left out, they would be the worst latencies of all.
///
/// # Errors
/// A connection cannot be made, or is not greeted in time. What goes wrong later is in the report.
pub fn run(options: &Options) -> io::Result<Report> {
    run_counted(options, u64::MAX, &mut |_| true)
}

/// The same with so many messages at most, all connections together, and watched.
///
/// # Errors
/// As [`run`].
pub fn run_counted(options: &Options, messages: u64, watch: Watch<'_>) -> io::Result<Report> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut connections = connect(options, &mut poll, &mut events)?;
    let mut idle = connections.split_off(options.connections);
    let started = Instant::now();
    let mut load = Load {
        exchange: Exchange::new(options.size),
        limits: Limits::new(started, options, messages),
        connections,
        tally: Tally::new(started)?,
        interval: options
            .rate
            .map(|rate| Duration::from_secs_f64(options.connections as f64 / rate)),
    };
    load.run(&mut poll, &mut events, started, options, watch)?;
    let unsent = load.unsent();
    let elapsed = load.elapsed(started);
    load.tally.check_idle(&mut idle);
    Ok(load.tally.report(elapsed, options.size, unsent))
}

/// Connects, is greeted, has one message answered, closes, and again: as many of these at a time as the options have
/// connections, and `visits` of them in all at most. The report counts visits as messages; the latency of one is from
/// connect to the last byte of the answer. The rate is ignored.
///
/// Each ends with an RST, after all that was owed has come. The side that closes first with a FIN keeps the port in TIME_WAIT
/// (RFC 9293, 3.6.1), on Linux for a minute, and there are about 28,000 of them: at a few thousand connections per
/// second they would run out within seconds, and the figure would be that of the port table.
///
/// # Errors
/// A connection cannot even be begun. What goes wrong later is in the report.
pub fn run_visits(options: &Options, visits: u64, watch: Watch<'_>) -> io::Result<Report> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let silent = Options { connections: 0, ..options.clone() };
    let mut idle = connect(&silent, &mut poll, &mut events)?;
    let started = Instant::now();
    let mut visits = Visits {
        exchange: Exchange::new(options.size),
        limits: Limits::new(started, options, u64::MAX),
        left: visits,
        address: options.address,
        slots: Vec::new(),
        first_token: idle.len(),
        tally: Tally::new(started)?,
    };
    visits.run(&mut poll, &mut events, options, watch)?;
    visits.tally.check_idle(&mut idle);
    let elapsed = visits.tally.last_answer.saturating_duration_since(started);
    Ok(visits.tally.report(elapsed, options.size, 0))
}

/// How long a loop waits for news at the most, before it looks whether it is over.
const A_GLANCE: Duration = Duration::from_millis(100);

/// Waits for news. A signal, also one that only stopped and continued us, is none (signal(7) on epoll_wait).
fn wait(poll: &mut Poll, events: &mut Events, limit: Duration) -> io::Result<()> {
    loop {
        match poll.poll(events, Some(limit)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
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
        wait(poll, events, options.timeout)?;
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
    limits: Limits,
    connections: Vec<Connection>,
    tally: Tally,
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
        watch: Watch<'_>,
    ) -> io::Result<()> {
        for number in 0..self.connections.len() {
            // With a rate the connections take turns, evenly spread over an interval.
            let share = number as f64 / self.connections.len() as f64;
            let offset = self.interval.map_or(Duration::ZERO, |interval| interval.mul_f64(share));
            self.connections[number].due = started + offset;
            self.advance(number);
        }
        let mut last_answer = (self.tally.messages, Instant::now());
        let mut glances = Glances::new();
        while self.connections.iter().any(|connection| connection.is_busy(&self.limits)) {
            wait(poll, events, self.next_due())?;
            for event in events.iter() {
                self.advance(event.token().0);
            }
            if self.interval.is_some() {
                (0..self.connections.len()).for_each(|number| self.advance(number));
            }
            let now = Instant::now();
            if glances.is_due(now) && !watch(self.tally.messages) {
                // What is due later is not late.
                self.limits.end = self.limits.end.min(now);
                break;
            }
            if self.tally.messages > last_answer.0 || self.connections.iter().all(|c| !c.is_owed())
            {
                last_answer = (self.tally.messages, now);
            } else if now - last_answer.1 > options.timeout {
                self.tally.errors.push(format!("no answer for {:?}", options.timeout));
                break;
            }
        }
        Ok(())
    }

    /// How long to wait for news: until somebody's next message is due, and a tenth of a second at the most, to look
    /// whether it is over.
    fn next_due(&self) -> Duration {
        let longest = A_GLANCE;
        if self.interval.is_none() {
            return longest;
        }
        let now = Instant::now();
        // Due times of connections that will never send again lie in the past for good: to wait for those is to spin.
        let waiting = self
            .connections
            .iter()
            .filter(|connection| connection.is_busy(&self.limits) && !connection.is_owed());
        let next = waiting.map(|connection| connection.due).min();
        next.map_or(longest, |due| due.saturating_duration_since(now).min(longest))
    }

    /// Takes one connection as far as it will go: answers in, messages out.
    fn advance(&mut self, number: usize) {
        // The idle ones are not ours to advance.
        let Some(connection) =
            self.connections.get_mut(number).filter(|connection| !connection.failed)
        else {
            return;
        };
        loop {
            match connection.exchange(&self.exchange, &mut self.limits) {
                Ok(None) => return,
                Ok(Some(due)) => {
                    self.tally.answered(due);
                    connection.due = match self.interval {
                        Some(interval) => due + interval,
                        None => Instant::now(),
                    };
                }
                Err(error) => {
                    connection.failed = true;
                    self.tally.errors.push(format!("connection {number}: {error}"));
                    return;
                }
            }
        }
    }

    /// The time that the answers took. With a rate it includes what follows the last message until another one would
    /// have been due: one message per second for three seconds is one per second, though the third comes after two.
    fn elapsed(&self, started: Instant) -> Duration {
        let answered = self.tally.last_answer.saturating_duration_since(started);
        let has_sent_all =
            |connection: &Connection| !connection.failed && connection.due >= self.limits.end;
        let is_whole = self.limits.messages > 0 && self.connections.iter().any(has_sent_all);
        if self.interval.is_some() && is_whole {
            answered.max(self.limits.end - started)
        } else {
            answered
        }
    }

    /// How many messages were due before the end and have not been begun.
    fn unsent(&self) -> u64 {
        let Some(interval) = self.interval.filter(|_| self.limits.messages > 0) else { return 0 };
        let late = |connection: &Connection| {
            // The one that is under way is due, and begun.
            let due = connection.due + if connection.is_owed() { interval } else { Duration::ZERO };
            let left = self.limits.end.saturating_duration_since(due);
            (left.as_secs_f64() / interval.as_secs_f64()).ceil() as u64
        };
        self.connections.iter().filter(|connection| !connection.failed).map(late).sum()
    }
}

/// A run of short connections in progress.
struct Visits {
    exchange: Exchange,
    limits: Limits,
    /// How many may still be opened.
    left: u64,
    address: SocketAddr,
    /// Those that are open; none where there is nothing left to do.
    slots: Vec<Option<Connection>>,
    first_token: usize,
    tally: Tally,
}

impl Visits {
    fn run(
        &mut self,
        poll: &mut Poll,
        events: &mut Events,
        options: &Options,
        watch: Watch<'_>,
    ) -> io::Result<()> {
        for slot in 0..options.connections {
            self.slots.push(None);
            self.open(slot, poll)?;
        }
        let mut last_answer = (self.tally.messages, Instant::now());
        let mut glances = Glances::new();
        while self.slots.iter().any(Option::is_some) {
            wait(poll, events, A_GLANCE)?;
            for event in events.iter() {
                // The idle ones have nothing to say.
                let Some(slot) = event.token().0.checked_sub(self.first_token) else { continue };
                self.advance(slot, poll)?;
            }
            let now = Instant::now();
            if glances.is_due(now) && !watch(self.tally.messages) {
                break;
            }
            if self.tally.messages > last_answer.0 {
                last_answer = (self.tally.messages, now);
            } else if now - last_answer.1 > options.timeout {
                self.tally.errors.push(format!("no answer for {:?}", options.timeout));
                break;
            }
        }
        Ok(())
    }

    /// Begins another one, if there is to be another.
    fn open(&mut self, slot: usize, poll: &mut Poll) -> io::Result<()> {
        // The same moment decides here and when its message is to begin: a later one might be past the end.
        let due = Instant::now();
        if self.left == 0 || !self.limits.allow(due) {
            return Ok(());
        }
        self.left -= 1;
        let mut connection = Connection::open(self.address)?;
        connection.due = due;
        let token = Token(self.first_token + slot);
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut connection.stream, token, interest)?;
        self.slots[slot] = Some(connection);
        Ok(())
    }

    fn advance(&mut self, slot: usize, poll: &mut Poll) -> io::Result<()> {
        // An event may be of a connection that this slot had before: then there is nothing to read yet.
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
            return Ok(());
        };
        match connection.visit(&self.exchange, &mut self.limits) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.tally.answered(connection.due);
                if let Some(done) = self.slots[slot].take() {
                    done.reset();
                }
                self.open(slot, poll)
            }
            Err(error) => {
                self.tally.errors.push(format!("connection {slot}: {error}"));
                self.slots[slot] = None;
                Ok(())
            }
        }
    }
}

/// When the watcher is to be told again. Not after each answer: it would be most of the work.
struct Glances {
    next: Instant,
}

impl Glances {
    fn new() -> Self {
        Glances { next: Instant::now() }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next;
        if is_due {
            self.next = now + A_GLANCE;
        }
        is_due
    }
}

/// What has come of a run so far.
struct Tally {
    histogram: Histogram<u64>,
    messages: u64,
    /// When the last answer came; when the run started if none has. The end of the run will not do: if a connection has
    /// fallen silent, the whole timeout lies between the two.
    last_answer: Instant,
    errors: Vec<String>,
}

impl Tally {
    fn new(started: Instant) -> io::Result<Self> {
        // Nanoseconds up to twenty minutes, to three digits.
        let histogram = Histogram::new_with_bounds(1, 1_200_000_000_000, 3);
        let histogram = histogram.map_err(io::Error::other)?;
        Ok(Tally { histogram, messages: 0, last_answer: started, errors: vec![] })
    }

    fn answered(&mut self, due: Instant) {
        self.messages += 1;
        self.last_answer = Instant::now();
        let nanoseconds = (self.last_answer - due).as_nanos().try_into().unwrap_or(u64::MAX);
        self.histogram.saturating_record(nanoseconds.max(1));
    }

    /// Whether the idle ones are still connected. After the run is early enough: an end or a byte that came before waits
    /// in the socket.
    fn check_idle(&mut self, idle: &mut [Connection]) {
        for (number, connection) in idle.iter_mut().enumerate() {
            if let Err(error) = connection.silence() {
                self.errors.push(format!("idle connection {number}: {error}"));
            }
        }
    }

    fn report(self, elapsed: Duration, size: usize, unsent: u64) -> Report {
        let microseconds = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1e3;
        // No answer takes no time: 0, not NaN.
        let per_second = self.messages as f64 / elapsed.as_secs_f64().max(1e-9);
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
            unsent,
            errors: self.errors,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_who_will_send_again_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seconds = Duration::from_secs;
        let options = Options {
            address,
            connections: 1,
            idle: 0,
            size: 64,
            duration: seconds(100),
            rate: Some(1.0),
            timeout: seconds(100),
        };
        let started = Instant::now();
        let mut load = Load {
            exchange: Exchange::new(options.size),
            limits: Limits::new(started, &options, 1),
            connections: vec![Connection::open(address).unwrap()],
            tally: Tally::new(started).unwrap(),
            interval: Some(seconds(1)),
        };
        let longest = Duration::from_millis(100);
        load.connections[0].due = started;
        assert_eq!(load.next_due(), Duration::ZERO, "it is due");

        load.connections[0].failed = true;
        assert_eq!(load.next_due(), longest, "it has failed");

        load.connections[0].failed = false;
        load.limits.end = started;
        assert_eq!(load.next_due(), longest, "it is past the end");

        load.limits.end = started + seconds(100);
        load.limits.messages = 0;
        assert_eq!(load.next_due(), longest, "it is out of messages");
    }
}
