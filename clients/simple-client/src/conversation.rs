//! One connection, from connect to close.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::describe;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};
use protocol::{GREETING, Session};

use crate::report::{Connection, Doing, Span};
use crate::text::Bytes;
use crate::{Event, Options, SCRIPT};

/// What all connections of a run share.
pub(crate) struct Run<'a> {
    options: &'a Options,
    observe: &'a (dyn Fn(usize, Event<'_>) + Sync),
    started: Instant,
    /// The same moment in microseconds of CLOCK_MONOTONIC, for the trace.
    pub(crate) monotonic: f64,
    /// When any of the connections last heard something, or will end a pause in which it has nothing to hear:
    /// nanoseconds since `started`.
    last_heard: AtomicU64,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        options: &'a Options,
        observe: &'a (dyn Fn(usize, Event<'_>) + Sync),
    ) -> Self {
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_or(0.0, |now| now.tv_sec() as f64 * 1e6 + now.tv_nsec() as f64 / 1e3);
        Run { options, observe, started: Instant::now(), monotonic, last_heard: AtomicU64::new(0) }
    }

    /// Seconds since the run started.
    pub(crate) fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn last_heard(&self) -> Instant {
        self.started + Duration::from_nanos(self.last_heard.load(Ordering::Relaxed))
    }
}

/// One connection of a run.
pub(crate) struct Conversation<'a> {
    run: &'a Run<'a>,
    number: usize,
    session: Session,
    /// All of the reply that is due for what has been sent, and how much of it has come.
    expected: Vec<u8>,
    received: usize,
    /// The server owes a reply since then, or has last sent a part of one.
    silent_since: Instant,
    record: Connection,
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(run: &'a Run<'a>, number: usize) -> Self {
        let name = format!("conn{number}");
        Conversation {
            run,
            number,
            session: Session::new(),
            expected: Vec::new(),
            received: 0,
            silent_since: run.started,
            record: Connection { name, greeted: None, done: 0.0, failure: None, spans: Vec::new() },
        }
    }

    /// The whole of it.
    pub(crate) fn hold(mut self) -> Connection {
        let result = self.converse();
        self.end(result)
    }

    /// A connection that was never made.
    pub(crate) fn without_thread(self, error: &io::Error) -> Connection {
        self.end(Err(format!("no thread: {}", describe(error))))
    }

    fn end(mut self, result: Result<(), String>) -> Connection {
        let now = self.run.now();
        self.record.done = now;
        if let Some(span) = self.record.spans.last_mut() {
            span.to = now;
        }
        if let Err(failure) = result {
            self.observe(Event::Failed(&failure));
            self.record.failure = Some(failure);
        }
        self.record
    }

    fn converse(&mut self) -> Result<(), String> {
        self.begin(Doing::Connecting);
        let mut stream = self.connect()?;
        self.observe(Event::Connected);

        self.begin(Doing::WaitingForGreeting);
        self.wait_for_greeting(&mut stream)?;
        self.record.greeted = Some(self.run.now());
        self.observe(Event::Greeted);

        for (bytes, pause) in SCRIPT {
            self.begin(Doing::Sending);
            self.send(&mut stream, bytes)?;
            // The original reads on a second thread while the first one sleeps. To read with the pause's end as the
            // deadline is the same to the server, and half the threads.
            self.begin(Doing::Pausing);
            let pause = Instant::now() + pause.mul_f64(self.run.options.delay);
            self.receive(&mut stream, Some(pause))?;
        }
        self.begin(Doing::Receiving);
        self.receive(&mut stream, None)?;
        self.observe(Event::Disconnecting);
        Ok(())
    }

    fn connect(&self) -> Result<TcpStream, String> {
        let Options { server, addresses, timeout, .. } = self.run.options;
        let mut last = io::Error::new(ErrorKind::NotFound, "it has no address");
        for address in addresses {
            match TcpStream::connect_timeout(address, *timeout) {
                Ok(stream) => {
                    stream.set_write_timeout(Some(*timeout)).map_err(|error| describe(&error))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(format!("cannot connect to {server}: {}", describe(&last)))
    }

    fn wait_for_greeting(&self, stream: &mut TcpStream) -> Result<(), String> {
        let timeout = self.run.options.timeout;
        let connected = Instant::now();
        let mut greeting = [0];
        loop {
            let silent_since = connected.max(self.run.last_heard());
            match read_until(stream, &mut greeting, silent_since + timeout) {
                Ok(1) if greeting[0] == GREETING => break,
                Ok(1) => {
                    let (wrong, right) = (Bytes(&greeting), Bytes(&[GREETING]));
                    return Err(format!("the server greeted with {wrong}, expected {right}"));
                }
                // Another connection has heard something meanwhile, or pauses: the server is busy, not dead.
                Err(error) if is_timeout(&error) && self.run.last_heard() > silent_since => {}
                Err(error) if is_timeout(&error) => {
                    let seconds = timeout.as_secs_f64();
                    return Err(format!("the server did not greet within {seconds} s"));
                }
                Err(error) if !is_closed(&error) => return Err(describe(&error)),
                Ok(_) | Err(_) => {
                    return Err("the server closed the connection without a greeting".to_owned());
                }
            }
        }
        self.heard(Instant::now());
        Ok(())
    }

    fn send(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
        self.observe(Event::Sending(bytes));
        if self.received == self.expected.len() {
            self.silent_since = Instant::now();
        }
        self.session.receive(bytes, &mut self.expected);
        match stream.write_all(bytes) {
            Ok(()) => Ok(()),
            Err(error) if is_closed(&error) => Err(self.closed()),
            Err(error) if is_timeout(&error) => Err("the server does not read".to_owned()),
            Err(error) => Err(describe(&error)),
        }
    }

    /// Reads what comes: up to the end of the pause if there is one, else until nothing is owed any more.
    fn receive(&mut self, stream: &mut TcpStream, pause: Option<Instant>) -> Result<(), String> {
        let mut buffer = [0; 8 * 1024];
        loop {
            let patience = self.silent_since + self.run.options.timeout;
            let owed = self.received < self.expected.len();
            if let Some(end) = pause.filter(|_| !owed) {
                // The server waits for us: connections that wait for its greeting must not blame it.
                self.heard(end);
            }
            let deadline = match pause {
                Some(end) if owed => end.min(patience),
                Some(end) => end,
                None if owed => patience,
                None => return Ok(()),
            };
            match read_until(stream, &mut buffer, deadline) {
                Ok(0) => return Err(self.closed()),
                Ok(length) => self.check(&buffer[..length])?,
                Err(error) if is_timeout(&error) && pause == Some(deadline) => return Ok(()),
                Err(error) if is_timeout(&error) => return Err(self.silent()),
                Err(error) if is_closed(&error) => return Err(self.closed()),
                Err(error) => return Err(describe(&error)),
            }
        }
    }

    fn check(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.silent_since = Instant::now();
        self.heard(self.silent_since);
        self.observe(Event::Received(bytes));
        let due = &self.expected[self.received..];
        let (reply, excess) = bytes.split_at(bytes.len().min(due.len()));
        if !due.starts_with(reply) {
            let (received, wrong, due) = (self.received, Bytes(reply), Bytes(due));
            return Err(format!("wrong reply after {received} bytes: {wrong}, expected {due}"));
        }
        self.received += reply.len();
        if !excess.is_empty() {
            let (excess, owed) = (Bytes(excess), self.expected.len());
            return Err(format!("the server sent {excess} after all {owed} bytes of its reply"));
        }
        Ok(())
    }

    fn closed(&self) -> String {
        let (received, owed) = (self.received, self.expected.len());
        format!("the server closed the connection after {received} of {owed} bytes")
    }

    fn silent(&self) -> String {
        let seconds = self.run.options.timeout.as_secs_f64();
        let (received, owed) = (self.received, self.expected.len());
        format!("the server has been silent for {seconds} s after {received} of {owed} bytes")
    }

    /// Silence counts from `at` at the earliest.
    fn heard(&self, at: Instant) {
        let at = (at - self.run.started).as_nanos().try_into().unwrap_or(u64::MAX);
        self.run.last_heard.fetch_max(at, Ordering::Relaxed);
    }

    fn observe(&self, event: Event<'_>) {
        (self.run.observe)(self.number, event);
    }

    /// From now on the connection does this.
    fn begin(&mut self, doing: Doing) {
        let now = self.run.now();
        if let Some(span) = self.record.spans.last_mut() {
            span.to = now;
        }
        self.record.spans.push(Span { doing, from: now, to: now });
    }
}

/// One read(2) that gives up at `deadline` with [`ErrorKind::TimedOut`].
///
/// The wait is poll(2)'s: a read timeout, SO_RCVTIMEO, is rounded up to the kernel's ticks, 10 ms on many systems, and
/// three pauses would then take 30 ms that the server did not cause.
fn read_until(stream: &mut TcpStream, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let milliseconds = left.as_micros().div_ceil(1000);
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return stream.read(buffer),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A closed connection shows in several ways, depending on which side was faster. Here all of them mean the same.
fn is_closed(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}
