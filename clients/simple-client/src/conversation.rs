//! One connection, from connect to close.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use protocol::{GREETING, Session};

use crate::report::{Connection, Received, Span, State};
use crate::text::Bytes;
use crate::{Event, Options, SCRIPT, What, describe};

/// What all connections of a run share.
pub(crate) struct Run<'a> {
    options: &'a Options,
    observe: &'a (dyn Fn(Event<'_>) + Sync),
    /// Where the server is, or why nobody knows.
    addresses: Result<Vec<SocketAddr>, String>,
    started: Instant,
    /// The same moment in microseconds of CLOCK_MONOTONIC, for the trace.
    pub(crate) started_at: f64,
    /// When any of the connections last heard something: nanoseconds since `started`.
    last_heard: AtomicU64,
}

impl<'a> Run<'a> {
    pub(crate) fn new(options: &'a Options, observe: &'a (dyn Fn(Event<'_>) + Sync)) -> Self {
        let addresses = match (options.host.as_str(), options.port).to_socket_addrs() {
            Ok(addresses) => Ok(addresses.collect()),
            Err(error) => Err(cannot_resolve(&options.host, &error)),
        };
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_or(0.0, |now| now.tv_sec() as f64 * 1e6 + now.tv_nsec() as f64 / 1e3);
        let started = Instant::now();
        Run { options, observe, addresses, started, started_at: monotonic, last_heard: 0.into() }
    }

    /// A connection that never was, for want of a thread.
    pub(crate) fn without_thread(&self, number: usize, error: &io::Error) -> Connection {
        let mut conversation = Conversation::new(self, number);
        conversation.end(Err(format!("no thread: {}", describe(error))));
        conversation.record
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits a day rather than overflow.
    fn after(&self, moment: Instant, wait: Duration) -> Instant {
        moment + wait.min(Duration::from_secs(24 * 60 * 60))
    }
}

fn cannot_resolve(host: &str, error: &io::Error) -> String {
    let text = describe(error);
    let reason = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    format!("cannot resolve {host}: {reason}")
}

/// One connection of a run.
pub(crate) struct Conversation<'a> {
    run: &'a Run<'a>,
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
        Conversation {
            run,
            session: Session::new(),
            expected: Vec::new(),
            received: 0,
            silent_since: run.started,
            record: Connection::new(number),
        }
    }

    /// The whole of it.
    pub(crate) fn hold(mut self) -> Connection {
        let result = self.converse();
        self.end(result);
        self.record
    }

    fn end(&mut self, result: Result<(), String>) {
        let now = self.run.now();
        self.record.done = now;
        if let Some(span) = self.record.spans.last_mut() {
            span.end = now;
        }
        if let Err(error) = result {
            self.observe(What::Failed(&error));
            self.record.error = Some(error);
        }
    }

    fn converse(&mut self) -> Result<(), String> {
        self.enter(State::Connecting);
        let mut stream = self.connect()?;
        self.record.connected = Some(self.observe(What::Connected));

        self.enter(State::WaitingForGreeting);
        self.wait_for_greeting(&mut stream)?;
        self.record.greeted = Some(self.observe(What::Greeted));

        for (bytes, pause) in SCRIPT {
            self.send(&mut stream, bytes)?;
            // The original reads on a second thread while the first one sleeps. To read with the pause's end as the
            // deadline is the same to the server, and half the threads.
            let pause = pause.mul_f64(self.run.options.delay);
            self.receive(&mut stream, Some(self.run.after(Instant::now(), pause)))?;
        }
        self.receive(&mut stream, None)?;
        self.observe(What::Disconnecting);
        Ok(())
    }

    fn connect(&self) -> Result<TcpStream, String> {
        let mut last = io::Error::new(ErrorKind::NotFound, "it has no address");
        for address in self.run.addresses.as_ref()? {
            match TcpStream::connect_timeout(address, self.run.options.timeout) {
                Ok(stream) => return self.prepare(stream),
                Err(error) => last = error,
            }
        }
        let Options { host, port, .. } = self.run.options;
        Err(format!("cannot connect to {host}:{port}: {}", describe(&last)))
    }

    fn prepare(&self, stream: TcpStream) -> Result<TcpStream, String> {
        let prepared = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_write_timeout(Some(self.run.options.timeout)));
        prepared.map(|()| stream).map_err(|error| describe(&error))
    }

    fn wait_for_greeting(&mut self, stream: &mut TcpStream) -> Result<(), String> {
        let mut greeting = [0];
        loop {
            let last_heard = Duration::from_nanos(self.run.last_heard.load(Ordering::Relaxed));
            // A connection that comes late (the run lasts longer than the timeout) has its full time too.
            let silent_since = last_heard.max(self.record.connected.unwrap_or_default());
            let deadline =
                self.run.after(self.run.started + silent_since, self.run.options.timeout);
            match read_until(stream, &mut greeting, deadline) {
                Ok(0) => {
                    return Err("the server closed the connection without a greeting".to_owned());
                }
                Ok(_) if greeting[0] == GREETING => break,
                Ok(_) => {
                    let (greeting, right) = (Bytes(&greeting), Bytes(&[GREETING]));
                    return Err(format!("wrong greeting: {greeting}, not {right}"));
                }
                Err(error) if is_timeout(&error) => {
                    if self.run.last_heard.load(Ordering::Relaxed) as u128 == last_heard.as_nanos()
                    {
                        let timeout = self.run.options.timeout;
                        return Err(format!(
                            "no greeting, and nothing on any other connection, for {timeout:?}"
                        ));
                    }
                }
                Err(error) if is_closed(&error) => {
                    return Err("the server closed the connection without a greeting".to_owned());
                }
                Err(error) => return Err(describe(&error)),
            }
        }
        self.heard();
        Ok(())
    }

    fn send(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
        self.enter(State::Sending);
        let at = self.observe(What::Sending(bytes));
        self.record.sent.push(at);
        if self.received == self.expected.len() {
            self.silent_since = Instant::now();
        }
        self.session.receive(bytes, &mut self.expected);
        stream.write_all(bytes).map_err(|error| match is_closed(&error) {
            true => self.closed(),
            false if is_timeout(&error) => "the server does not read what it is sent".to_owned(),
            false => describe(&error),
        })
    }

    /// Reads what comes: up to the end of the pause if there is one, else until nothing is owed any more.
    fn receive(&mut self, stream: &mut TcpStream, pause: Option<Instant>) -> Result<(), String> {
        let mut buffer = [0; 8 * 1024];
        loop {
            let owed = self.received < self.expected.len();
            self.enter(if owed { State::Receiving } else { State::Pausing });
            let patience = self.run.after(self.silent_since, self.run.options.timeout);
            let deadline = match pause {
                Some(end) if owed => end.min(patience),
                Some(end) => end,
                None if owed => patience,
                None => return Ok(()),
            };
            match read_until(stream, &mut buffer, deadline) {
                Ok(0) => return Err(self.closed()),
                Ok(length) => self.received(&buffer[..length])?,
                Err(error) if is_timeout(&error) && pause == Some(deadline) => return Ok(()),
                Err(error) if is_timeout(&error) => return Err(self.silent()),
                Err(error) if is_closed(&error) => return Err(self.closed()),
                Err(error) => return Err(describe(&error)),
            }
        }
    }

    fn received(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.heard();
        self.silent_since = Instant::now();
        let at = self.observe(What::Received(bytes));
        self.record.received.push(Received { at, bytes: bytes.len() });
        let due = &self.expected[self.received..];
        if !due.starts_with(bytes) {
            return Err(format!("wrong reply: {}, but {} was due", Bytes(bytes), Bytes(due)));
        }
        self.received += bytes.len();
        Ok(())
    }

    fn closed(&self) -> String {
        let (received, all) = (self.received, whole_reply());
        format!("the server closed the connection after {received} of {all} bytes of the reply")
    }

    fn silent(&self) -> String {
        let (received, all) = (self.received, whole_reply());
        let timeout = self.run.options.timeout;
        format!(
            "the server fell silent for {timeout:?} after {received} of {all} bytes of the reply"
        )
    }

    fn heard(&self) {
        let now = u64::try_from(self.run.now().as_nanos()).unwrap_or(u64::MAX);
        self.run.last_heard.fetch_max(now, Ordering::Relaxed);
    }

    fn observe(&self, what: What<'_>) -> Duration {
        let at = self.run.now();
        (self.run.observe)(Event { connection: self.record.number, at, what });
        at
    }

    /// From now on the connection does this.
    fn enter(&mut self, state: State) {
        let now = self.run.now();
        match self.record.spans.last_mut() {
            Some(span) if span.state == state => return,
            Some(span) => span.end = now,
            None => {}
        }
        self.record.spans.push(Span { state, start: now, end: now });
    }
}

/// How many bytes the whole script is answered with.
fn whole_reply() -> usize {
    let (mut session, mut reply) = (Session::new(), Vec::new());
    for (bytes, _) in SCRIPT {
        session.receive(bytes, &mut reply);
    }
    reply.len()
}

/// One read(2) that gives up at `deadline` with [`ErrorKind::WouldBlock`] or [`ErrorKind::TimedOut`].
fn read_until(stream: &mut TcpStream, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            // SO_RCVTIMEO is rounded to the kernel's ticks; the loop decides when the time is up.
            Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// How a closed connection shows depends on who was faster, so all of these are one thing to us.
fn is_closed(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}
