//! The checker's own client: it knows what it is owed, waits for it with patience but not for ever, and says precisely
//! what came instead.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage};
use nix::sys::socket::{setsockopt, sockopt};
use protocol::reference::reply_to;

use crate::transcript::{self, excerpt};

/// How long a server may take to do anything at all, in milliseconds. Far more than it needs: a loaded machine must not
/// fail a test.
static PATIENCE: AtomicU64 = AtomicU64::new(20_000);

pub(crate) fn patience() -> Duration {
    Duration::from_millis(PATIENCE.load(Ordering::Relaxed))
}

/// Sets how long a server may take to do anything at all, instead of 20 s, from now on and everywhere in this process.
pub fn set_patience(patience: Duration) {
    let milliseconds = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    PATIENCE.store(milliseconds.max(1), Ordering::Relaxed);
}

/// Why a case failed.
#[derive(Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure(error.to_string())
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        io::Error::other(failure)
    }
}

impl From<nix::Error> for Failure {
    fn from(error: nix::Error) -> Self {
        Failure(error.desc().to_owned())
    }
}

/// The result of a test.
pub type Outcome = Result<(), Failure>;

/// Fails unless `condition` holds.
///
/// # Errors
/// It does not; `text` says what is wrong.
pub fn ensure(condition: bool, text: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(Failure(text())) }
}

/// Asks `condition` again and again until it holds.
///
/// # Errors
/// It does not within 20 s.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) -> Outcome {
    let deadline = Instant::now() + patience();
    while !condition() {
        ensure(Instant::now() < deadline, || format!("{what}: not within {:?}", patience()))?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// One connection, for the cases and for what a stage tests besides.
pub struct Client {
    /// The connection: reads and writes give up after 20 s.
    pub stream: TcpStream,
}

impl Client {
    /// Connects, and does not wait for the greeting.
    ///
    /// # Errors
    /// No server accepts.
    pub fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect_timeout(&address, patience())
            .map_err(|error| Failure(format!("cannot connect to {address}: {error}")))?;
        Self::of(stream)
    }

    /// Connects with a small receive buffer and small segments (Linux sizes the server's send buffer by the segments).
    /// So the kernel keeps little of the server's answers, and the server soon has to keep the rest.
    ///
    /// # Errors
    /// No server accepts.
    #[cfg(target_os = "linux")]
    pub(crate) fn connect_with_small_buffers(address: SocketAddr) -> Result<Self, Failure> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        // The server hears of both while we connect, so they must be set before.
        setsockopt(&socket, sockopt::RcvBuf, &4096)?;
        setsockopt(&socket, sockopt::TcpMaxSeg, &536)?;
        let client = Self::of(socket.into())?;
        socket::connect(client.stream.as_raw_fd(), &SockaddrStorage::from(address))
            .map_err(|error| Failure(format!("cannot connect to {address}: {}", error.desc())))?;
        Ok(client)
    }

    /// Connects, with a small receive buffer.
    ///
    /// # Errors
    /// No server accepts.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn connect_with_small_buffers(address: SocketAddr) -> Result<Self, Failure> {
        let client = Self::connect(address)?;
        setsockopt(&client.stream, sockopt::RcvBuf, &4096)?;
        Ok(client)
    }

    fn of(stream: TcpStream) -> Result<Self, Failure> {
        stream.set_read_timeout(Some(patience()))?;
        stream.set_write_timeout(Some(patience()))?;
        stream.set_nodelay(true)?;
        transcript::begin(stream.as_raw_fd());
        Ok(Client { stream })
    }

    /// Connects and is greeted.
    ///
    /// # Errors
    /// No server accepts, or greets.
    pub fn greeted(address: SocketAddr) -> Result<Self, Failure> {
        let mut client = Self::connect(address)?;
        client.expect_greeting()?;
        Ok(client)
    }

    /// Returns those of `clients` that are greeted within this time, all together: a sequential server greets one at a
    /// time.
    ///
    /// # Errors
    /// One of them is greeted with something else.
    pub(crate) fn greeted_within(
        time: Duration,
        clients: Vec<Client>,
    ) -> Result<Vec<Client>, Failure> {
        let deadline = Instant::now() + time;
        let mut greeted = Vec::new();
        for mut client in clients {
            let left = deadline.saturating_duration_since(Instant::now());
            client.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let is_greeted = client.stream.peek(&mut [0]).is_ok();
            client.stream.set_read_timeout(Some(patience()))?;
            if is_greeted {
                client.expect_greeting()?;
                greeted.push(client);
            }
        }
        Ok(greeted)
    }

    /// Receives the greeting.
    ///
    /// # Errors
    /// Something else comes, or nothing.
    pub fn expect_greeting(&mut self) -> Outcome {
        self.expect(b"*").map_err(|Failure(text)| Failure(format!("the greeting: {text}")))
    }

    /// One recv. (A signal interrupts a recv that has a time limit, whatever its handler asks for: signal(7).)
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// The server closes, or does not read.
    pub fn send(&mut self, bytes: &[u8]) -> Outcome {
        self.will_send(bytes);
        self.stream
            .write_all(bytes)
            .map_err(|error| self.failure(&format!("sending: {error}"), 0, &[]))
    }

    /// Notes for a failure that these bytes are sent, by whoever sends them.
    pub(crate) fn will_send(&self, bytes: &[u8]) {
        transcript::sent(self.stream.as_raw_fd(), bytes);
    }

    /// A failure at the byte so much `further` than all that has come; with what was sent, and further lines.
    fn failure(&self, text: &str, further: usize, lines: &[(&str, String)]) -> Failure {
        let sent = ("sent", transcript::describe(self.stream.as_raw_fd(), further));
        let mut text = text.to_owned();
        for (word, line) in [&[sent], lines].concat() {
            text.push_str(&format!("\n{word:9} {line}"));
        }
        Failure(text)
    }

    /// Sends a message and waits for its answer.
    ///
    /// # Errors
    /// Something else comes, or nothing.
    pub fn echo(&mut self, message: &[u8]) -> Outcome {
        self.send(message)?;
        self.expect(&reply_to(message))
    }

    /// Receives exactly these bytes.
    ///
    /// # Errors
    /// Something else comes, or too little.
    pub fn expect(&mut self, expected: &[u8]) -> Outcome {
        let connection = self.stream.as_raw_fd();
        let mut received = 0;
        let mut buffer = vec![0; expected.len().clamp(1, 64 * 1024)];
        while received < expected.len() {
            let room = buffer.len().min(expected.len() - received);
            let length = match self.read(&mut buffer[..room]) {
                Ok(0) => Err("the server closed the connection".to_owned()),
                Ok(length) => Ok(length),
                Err(error) if is_timeout(&error) => {
                    Err(format!("nothing came for {:?}", patience()))
                }
                Err(error) => Err(format!("receiving: {error}")),
            }
            .map_err(|text| {
                let text = format!("{text}, after {received} of {} bytes", expected.len());
                self.failure(&text, 0, &[("missing", excerpt(&expected[received..], 0))])
            })?;
            let owed = &expected[received..][..length];
            if let Some(at) = (0..length).find(|&at| buffer[at] != owed[at]) {
                let around = at.saturating_sub(4)..(at + 4).min(length);
                let text = format!(
                    "byte {} of {} is wrong: expected ..{}.., received ..{}..",
                    received + at,
                    expected.len(),
                    owed[around.clone()].escape_ascii(),
                    buffer[around].escape_ascii()
                );
                return Err(self.failure(&text, at, &[]));
            }
            received += length;
            transcript::received(connection, length);
        }
        Ok(())
    }

    /// Receives the end and nothing before it. A reset is an end, too, if `reset` says so.
    ///
    /// # Errors
    /// Something else comes, or nothing.
    pub fn expect_end(&mut self, reset: bool) -> Outcome {
        let mut buffer = [0; 64];
        match self.read(&mut buffer) {
            Ok(0) => Ok(()),
            Ok(length) => {
                let received = ("received", excerpt(&buffer[..length], 0));
                Err(self.failure(&format!("{length} bytes more than are owed"), 0, &[received]))
            }
            Err(error) if reset && error.kind() == ErrorKind::ConnectionReset => Ok(()),
            Err(error) if is_timeout(&error) => {
                let text = format!("the connection is still open after {:?}", patience());
                Err(self.failure(&text, 0, &[]))
            }
            Err(error) => Err(self.failure(&format!("expected the end: {error}"), 0, &[])),
        }
    }

    /// Nothing more is owed: the server stays silent until it is asked again.
    pub(crate) fn expect_nothing_but(&mut self, probe: &[u8]) -> Outcome {
        self.echo(probe).map_err(|Failure(text)| Failure(format!("after that, {text}")))
    }

    /// What the kernel holds of this connection. Linux only, and only if the server is on this machine.
    pub(crate) fn queues(&self) -> Option<Queues> {
        let (ours, theirs) =
            (self.stream.local_addr().ok()?.port(), self.stream.peer_addr().ok()?.port());
        let (unacknowledged, unread) = queues_between(ours, theirs)?;
        let (server_unacknowledged, server_unread) = queues_between(theirs, ours)?;
        Some(Queues { unacknowledged, unread, server_unacknowledged, server_unread })
    }

    /// Sends no more, and may go on receiving.
    ///
    /// # Errors
    /// The server is gone.
    pub fn half_close(&self) -> Outcome {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Ends the connection with an RST: close with a linger time of zero (socket(7)).
    ///
    /// # Errors
    /// What setsockopt(2) reports.
    pub fn reset(self) -> Outcome {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        Ok(setsockopt(&self.stream, sockopt::Linger, &linger)?)
    }
}

/// Bytes that the kernel holds, on both sides of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queues {
    /// We have sent them, and the server's kernel has not acknowledged them.
    pub(crate) unacknowledged: usize,
    /// They have arrived, and we have not read them.
    pub(crate) unread: usize,
    /// The same two as the server has them.
    pub(crate) server_unacknowledged: usize,
    pub(crate) server_unread: usize,
}

/// The send and the receive queue of the socket on this machine with these ports: `tx_queue:rx_queue` in /proc/net/tcp.
fn queues_between(local: u16, remote: u16) -> Option<(usize, usize)> {
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(std::fs::read_to_string);
    tables.iter().flatten().flat_map(|table| table.lines().skip(1)).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, ours, theirs, _, queues, ..] = fields[..] else { return None };
        let (sent, received) = queues.split_once(':')?;
        let length = |hexadecimal| usize::from_str_radix(hexadecimal, 16).ok();
        let is_it = (port(ours), port(theirs)) == (Some(local), Some(remote));
        if is_it { Some((length(sent)?, length(received)?)) } else { None }
    })
}

/// Whether a call gave up because its time limit was over.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
