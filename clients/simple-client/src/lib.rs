//! The course's client: N connections that all play the same script at the same time, and how long they took.
//!
//! One connection waits for the greeting, then sends three pieces with a pause after each, so that a message is split
//! over two of them, and reads until all of the reply has come. Every byte of it is checked against
//! [`protocol::Session`]. With the script's own pauses that takes 2.2 s, however fast the server is: any time beyond
//! that is the server's.
//!
//! [`run`] prints nothing. It tells its observer what happens, as it happens, and sums up in a [`Report`].
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! let mut options = simple_client::Options::new("localhost", 8080)?;
//! options.connections = 3;
//! let report = simple_client::run(&options, |_connection, event| eprintln!("{event:?}"));
//! println!("Elapsed: {:?}", report.elapsed);
//! # Ok(())
//! # }
//! ```

use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::time::Duration;
use std::{io, thread};

mod conversation;
mod report;
pub mod text;

pub use report::{Connection, Doing, Report, Span};

use conversation::{Conversation, Run};

/// What every connection sends, and how long it pauses afterwards.
pub const SCRIPT: [(&[u8], Duration); 3] = [
    (b"^abc$de^abte$f", Duration::from_millis(1000)),
    (b"xyz^123", Duration::from_millis(1000)),
    (b"25$^ab0000$abab", Duration::from_millis(200)),
];

/// A conversation needs a few hundred bytes of stack, resolving and formatting a few thousand.
const STACK: usize = 128 * 1024;

/// Which server to talk to, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many connections run at the same time: 1 unless changed.
    pub connections: usize,
    /// Scales the script's pauses: 1, the course's own, unless changed; 0 means no pauses. Finite and not negative.
    pub delay: f64,
    /// How long the server may be silent when it owes a reply: 10 s unless changed.
    ///
    /// The greeting is another matter: a server that serves one client after the other greets the last of N only when
    /// the others have left. So a connection gives up waiting for its greeting only when for this long *no* connection
    /// of the run has heard anything, or paused with nothing owed to it.
    pub timeout: Duration,
    server: String,
    addresses: Vec<SocketAddr>,
}

impl Options {
    /// One connection to this server, at the course's pace.
    ///
    /// # Errors
    /// `host` cannot be resolved; the error's text names it.
    pub fn new(host: &str, port: u16) -> io::Result<Self> {
        Ok(Options {
            connections: 1,
            delay: 1.0,
            timeout: Duration::from_secs(10),
            // An IPv6 address needs its brackets before a port.
            server: if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            },
            addresses: client::resolve(host, port)?.collect(),
        })
    }

    /// The sum of the script's pauses: no server can be faster, and a server need not be slower.
    pub fn ideal(&self) -> Duration {
        SCRIPT.iter().map(|(_, pause)| pause.mul_f64(self.delay)).sum()
    }
}

/// Something that happened on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The kernel has connected us. The server may not have noticed yet.
    Connected,
    /// The greeting has come.
    Greeted,
    /// These bytes are about to be sent.
    Sending(&'a [u8]),
    /// These bytes have come.
    Received(&'a [u8]),
    /// All of the reply has come; the connection is about to be closed.
    Disconnecting,
    /// It has ended early, and this is why.
    Failed(&'a str),
}

/// Runs all connections at once, each on a thread of its own, and returns when the last one has ended.
///
/// `observe` is told which connection (from 0) and what happened. The connection's thread calls it, so many threads
/// call it at once, and its time is added to the connection's.
pub fn run(options: &Options, observe: impl Fn(usize, Event<'_>) + Sync) -> Report {
    let run = Run::new(options, &observe);
    let connections = thread::scope(|scope| {
        let spawn = |number| {
            let conversation = Conversation::new(&run, number);
            thread::Builder::new()
                .name(format!("conn{number}"))
                .stack_size(STACK)
                .spawn_scoped(scope, move || conversation.hold())
        };
        let threads: Vec<_> = (0..options.connections).map(spawn).collect();
        let join =
            |(number, spawned): (usize, io::Result<thread::ScopedJoinHandle<'_, _>>)| match spawned
            {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(error) => Conversation::new(&run, number).without_thread(&error),
            };
        threads.into_iter().enumerate().map(join).collect()
    });
    Report { elapsed: run.now(), connections, started: run.monotonic }
}
