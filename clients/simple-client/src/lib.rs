//! The course's client: N connections that all play the same script at the same time, and how long they took.
//!
//! One connection waits for the greeting, then sends three pieces with a pause after each, so that a message is split
//! over two of them, and reads until all of the reply has come. Every byte of it is checked against
//! [`protocol::Session`]. With the script's own pauses that takes 2.2 s, however fast the server is: what a run takes
//! beyond it, the server has cost.
//!
//! [`run`] prints nothing. What happens, it tells its observer as it happens, and sums up in a [`Report`].
//!
//! ```no_run
//! let options = simple_client::Options { connections: 3, ..Default::default() };
//! let report = simple_client::run(&options, &|event| eprintln!("{event:?}"));
//! println!("Elapsed: {:?}", report.elapsed);
//! ```

use std::time::{Duration, Instant};
use std::{io, thread};

mod conversation;
mod report;
pub mod text;

pub use report::{Connection, Received, Report, Span, State};

use conversation::Conversation;

/// What every connection sends, and how long it pauses afterwards.
pub const SCRIPT: [(&[u8], Duration); 3] = [
    (b"^abc$de^abte$f", Duration::from_millis(1000)),
    (b"xyz^123", Duration::from_millis(1000)),
    (b"25$^ab0000$abab", Duration::from_millis(200)),
];

/// What the script's pauses add up to, scaled by `delay`: no server is faster, and none needs to be slower.
pub fn ideal(delay: f64) -> Duration {
    SCRIPT.iter().map(|(_, pause)| pause.mul_f64(delay)).sum()
}

/// A conversation needs a few hundred bytes of stack, resolving and formatting a few thousand.
const STACK: usize = 128 * 1024;

/// Whom to talk to, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's name or address.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// How many connections run at the same time.
    pub connections: usize,
    /// Scales the script's pauses: 1 is the course's, 0 is none. Finite and not negative.
    pub delay: f64,
    /// How long the server may be silent when it owes a reply.
    ///
    /// The greeting is another matter: a server that serves one client after the other greets the last of N only when
    /// the others have left. So a connection gives up waiting for its greeting only when *no* connection of the run
    /// has heard anything for this long.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            host: "127.0.0.1".to_owned(),
            port: 8080,
            connections: 1,
            delay: 1.0,
            timeout: Duration::from_secs(10),
        }
    }
}

/// Something that happened on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Which connection, from 0.
    pub connection: usize,
    /// When, since the run started.
    pub at: Duration,
    /// What.
    pub what: What<'a>,
}

/// What an [`Event`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// The kernel has connected us. The server need not have noticed.
    Connected,
    /// The greeting has come.
    Greeted,
    /// These bytes are about to be sent.
    Sending(&'a [u8]),
    /// These bytes have come.
    Received(&'a [u8]),
    /// All of the reply has come; the connection is about to be closed.
    Disconnecting,
    /// It is over, early, and this is why.
    Failed(&'a str),
}

/// Runs all connections at once, each on a thread of its own, and returns when the last one has ended.
///
/// `observe` is called on the connection's thread, so it is called by many threads at once, and what it takes is added
/// to what the connection takes.
pub fn run(options: &Options, observe: &(dyn Fn(Event<'_>) + Sync)) -> Report {
    let run = conversation::Run::new(options, observe);
    let started = Instant::now();
    let connections = thread::scope(|scope| {
        let threads: Vec<_> = (0..options.connections)
            .map(|number| {
                let conversation = Conversation::new(&run, number);
                thread::Builder::new()
                    .name(format!("conn{number}"))
                    .stack_size(STACK)
                    .spawn_scoped(scope, move || conversation.hold())
            })
            .collect();
        let threads = threads.into_iter().enumerate();
        threads
            .map(|(number, spawned)| match spawned {
                Ok(thread) => {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                }
                Err(error) => run.without_thread(number, &error),
            })
            .collect()
    });
    Report::new(run, connections, started.elapsed())
}

/// An error's text without the ` (os error 111)` that std appends.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
