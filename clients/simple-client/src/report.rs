//! What a run amounted to: for people, as JSON, and as a trace.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::json;

use crate::conversation::Run;

/// A finished run. Its JSON form gives all times in seconds since the run started.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether every connection got the right reply, all of it.
    pub ok: bool,
    /// From before the first connect to after the last close.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
    /// One for each connection, by number.
    pub connections: Vec<Connection>,
    #[serde(skip)]
    started_at: f64,
}

/// What one connection went through, in times since the run started.
#[derive(Clone, Debug, Serialize)]
pub struct Connection {
    /// From 0; the log calls it `conn0`.
    pub number: usize,
    /// When the kernel had connected us.
    #[serde(serialize_with = "maybe_seconds")]
    pub connected: Option<Duration>,
    /// When the greeting had come: the server knows of us.
    #[serde(serialize_with = "maybe_seconds")]
    pub greeted: Option<Duration>,
    /// When each piece of the script was sent.
    #[serde(serialize_with = "all_seconds")]
    pub sent: Vec<Duration>,
    /// When the pieces of the reply came.
    pub received: Vec<Received>,
    /// When it was over.
    #[serde(serialize_with = "seconds")]
    pub done: Duration,
    /// Why it ended early, if it did.
    pub error: Option<String>,
    /// What it did when, without a gap.
    #[serde(skip)]
    pub spans: Vec<Span>,
}

/// A piece of the reply.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Received {
    /// When it came.
    #[serde(serialize_with = "seconds")]
    pub at: Duration,
    /// How long it was.
    pub bytes: usize,
}

/// A stretch of a connection's time.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// What the connection did.
    pub state: State,
    /// From when, since the run started.
    pub start: Duration,
    /// Until when.
    pub end: Duration,
}

/// What a connection can be doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waiting for the kernels to shake hands.
    Connecting,
    /// Connected, and waiting for the server to notice.
    WaitingForGreeting,
    /// Handing bytes to the kernel.
    Sending,
    /// Waiting for a reply that is due.
    Receiving,
    /// Waiting for the script to go on, with nothing due.
    Pausing,
}

impl State {
    /// Its name in the trace.
    pub fn name(self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::WaitingForGreeting => "waiting for the greeting",
            State::Sending => "sending",
            State::Receiving => "receiving",
            State::Pausing => "pausing",
        }
    }
}

impl Connection {
    pub(crate) fn new(number: usize) -> Self {
        Connection {
            number,
            connected: None,
            greeted: None,
            sent: Vec::new(),
            received: Vec::new(),
            done: Duration::ZERO,
            error: None,
            spans: Vec::new(),
        }
    }
}

impl Report {
    pub(crate) fn new(run: Run<'_>, connections: Vec<Connection>, elapsed: Duration) -> Self {
        let ok = connections.iter().all(|connection| connection.error.is_none());
        Report { ok, elapsed, connections, started_at: run.started_at }
    }

    /// What went wrong, a line for each *kind* of failure: connections that failed alike share one.
    pub fn errors(&self) -> Vec<String> {
        let mut alike: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for connection in &self.connections {
            if let Some(error) = &connection.error {
                alike.entry(error).or_default().push(connection.number);
            }
        }
        let all = self.connections.len();
        let line = |(error, numbers): (&str, Vec<usize>)| match numbers[..] {
            [_] if all == 1 => error.to_owned(),
            [number] => format!("conn{number}: {error}"),
            _ => format!("{} of {all} connections: {error}", numbers.len()),
        };
        alike.into_iter().map(line).collect()
    }

    /// Writes the run as Chrome trace events, one per line: a thread for each connection, its states as slices.
    ///
    /// Timestamps are microseconds of CLOCK_MONOTONIC, as in the servers' traces: the two line up in one time line.
    ///
    /// # Errors
    /// What `to` reports.
    pub fn write_trace(&self, mut to: impl Write) -> io::Result<()> {
        let pid = process::id();
        let mut lines = vec![json!(
            {"name": "process_name", "ph": "M", "pid": pid, "args": {"name": "simple-client"}}
        )];
        for connection in &self.connections {
            let tid = connection.number + 1;
            let name = format!("conn{}", connection.number);
            lines.push(json!(
                {"name": "thread_name", "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}
            ));
            for span in &connection.spans {
                for (phase, at) in [("B", span.start), ("E", span.end)] {
                    let ts = (self.started_at + at.as_secs_f64() * 1e6) as u64 as f64
                        + f64::from(at.subsec_nanos() % 1000) / 1e3;
                    lines.push(json!(
                        {"name": span.state.name(), "ph": phase, "pid": pid, "tid": tid, "ts": ts}
                    ));
                }
            }
        }
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        write!(to, "[\n{}\n]\n", lines.join(",\n"))
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn maybe_seconds<S: Serializer>(
    value: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

fn all_seconds<S: Serializer>(values: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(Duration::as_secs_f64))
}
