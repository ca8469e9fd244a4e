//! The result of a run: for people, as JSON, and as a trace.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process;

use serde::Serialize;
use serde_json::json;

/// A finished run. All times are seconds since it started.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// One for each connection, by number.
    pub connections: Vec<Connection>,
    /// When the last connection had ended.
    pub elapsed: f64,
    /// When it started: microseconds of CLOCK_MONOTONIC.
    #[serde(skip)]
    pub started: f64,
}

/// What one connection went through, in seconds since the run started.
#[derive(Clone, Debug, Serialize)]
pub struct Connection {
    /// `conn0`, `conn1`, ...
    pub name: String,
    /// When the greeting had come: the server knows of us.
    pub greeted: Option<f64>,
    /// When it was over.
    pub done: f64,
    /// Why it ended early, if it did.
    pub failure: Option<String>,
    /// What it did when, in order.
    pub spans: Vec<Span>,
}

/// A stretch of a connection's time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Span {
    /// What the connection did.
    pub doing: Doing,
    /// Since when.
    pub from: f64,
    /// Until when.
    pub to: f64,
}

/// What a connection can be doing. Its JSON form is its name in the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Doing {
    /// Waiting for the kernels to shake hands.
    #[serde(rename = "connecting")]
    Connecting,
    /// Connected, and waiting for the server to notice.
    #[serde(rename = "waiting for the greeting")]
    WaitingForGreeting,
    /// Handing bytes to the kernel.
    #[serde(rename = "sending")]
    Sending,
    /// Waiting as the script says, and reading what comes meanwhile.
    #[serde(rename = "pausing")]
    Pausing,
    /// Waiting for what is still owed when the script is over.
    #[serde(rename = "receiving")]
    Receiving,
}

impl Report {
    /// Whether every connection got the right reply, all of it.
    pub fn is_right(&self) -> bool {
        self.connections.iter().all(|connection| connection.failure.is_none())
    }

    /// What went wrong, a line for each *kind* of failure: connections that failed alike share one.
    pub fn failures(&self) -> Vec<String> {
        let mut alike: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for connection in &self.connections {
            if let Some(failure) = &connection.failure {
                alike.entry(failure).or_default().push(&connection.name);
            }
        }
        let all = self.connections.len();
        let line = |(failure, names): (&str, Vec<&str>)| match names[..] {
            [name] => format!("{name}: {failure}"),
            _ if names.len() == all => format!("all {all} connections: {failure}"),
            _ => format!("{} of {all} connections: {failure}", names.len()),
        };
        alike.into_iter().map(line).collect()
    }

    /// Writes the run as Chrome trace events, one per line: a thread for each connection, its spans as slices.
    ///
    /// Timestamps are microseconds of CLOCK_MONOTONIC, as in the servers' traces: the two share a time line.
    ///
    /// # Errors
    /// What `to` reports.
    pub fn write_trace(&self, mut to: impl Write) -> io::Result<()> {
        let pid = process::id();
        writeln!(to, "[")?;
        for (tid, connection) in (1..).zip(&self.connections) {
            let args = json!({"name": connection.name});
            let name =
                json!({"name": "thread_name", "ph": "M", "pid": pid, "tid": tid, "args": args});
            writeln!(to, "{name},")?;
            for Span { doing, from, to: until } in &connection.spans {
                let (ts, dur) = (self.started + from * 1e6, (until - from) * 1e6);
                let span = json!(
                    {"name": doing, "ph": "X", "pid": pid, "tid": tid, "ts": ts, "dur": dur}
                );
                writeln!(to, "{span},")?;
            }
        }
        // Every event so far has a comma after it. This is the last.
        let args = json!({"name": "simple-client"});
        writeln!(to, "{}\n]", json!({"name": "process_name", "ph": "M", "pid": pid, "args": args}))
    }
}
