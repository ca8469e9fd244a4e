//! What was done when: the server's threads and tasks, from its `--trace`, and the clients, from the client itself.
//! Both look at the same clock (CLOCK_MONOTONIC).

use serde::{Deserialize, Serialize};

/// A run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Timeline {
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The server's threads, and then its tasks.
    pub server: Vec<Lane>,
    /// The clients.
    pub clients: Vec<Lane>,
}

/// A thread, a task, or a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// What it did, in the order of its beginning.
    pub spans: Vec<Span>,
}

/// A stretch of time. In JSON: its name, and its ends in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(String, f64, f64)", into = "(String, f64, f64)")]
pub struct Span {
    /// What it is called: a system call, a callback, an `.await`, what a client was doing.
    pub name: String,
    /// What kind of thing it is.
    pub kind: Kind,
    /// Since when, in seconds after the first client's start.
    pub from: f64,
    /// Until when.
    pub to: f64,
}

/// What kind of thing a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call into the kernel that can wait.
    Call,
    /// A callback of the server.
    Callback,
    /// A task that is asleep at `.await`.
    Asleep,
    /// What a thread of a pool was given to do.
    Work,
    /// A client that the server has yet to notice.
    Unnoticed,
    /// A client that has asked something, and waits for the answer.
    Asking,
    /// A client that pauses, as its script says.
    Pausing,
    /// A client that sends or receives.
    Busy,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            "connecting" | "waiting for the greeting" => Kind::Unnoticed,
            "pausing" => Kind::Pausing,
            "sending" | "receiving" => Kind::Busy,
            "work" => Kind::Work,
            "await" => Kind::Asleep,
            _ if name.ends_with(".await") => Kind::Asleep,
            _ if name.ends_with('?') => Kind::Asking,
            _ if name.starts_with("on_") || name.starts_with("after_") => Kind::Callback,
            _ => Kind::Call,
        }
    }
}

impl Span {
    /// A span of the kind that its name says.
    pub fn new(name: &str, from: f64, to: f64) -> Self {
        Span { name: name.to_owned(), kind: Kind::of(name), from, to }
    }

    /// How long it lasted, in seconds.
    pub fn seconds(&self) -> f64 {
        self.to - self.from
    }
}

impl From<(String, f64, f64)> for Span {
    fn from((name, from, to): (String, f64, f64)) -> Self {
        Span::new(&name, from / 1e6, to / 1e6)
    }
}

impl From<Span> for (String, f64, f64) {
    fn from(span: Span) -> Self {
        let microseconds = |seconds: f64| (seconds * 1e7).round() / 10.0;
        (span.name, microseconds(span.from), microseconds(span.to))
    }
}

impl Lane {
    /// When a client was greeted, or else when it began, in seconds.
    pub fn greeted(&self) -> f64 {
        // It connects before it waits for the greeting, and both are of this kind: any server is connected at once.
        let unnoticed = self.spans.iter().rfind(|span| span.kind == Kind::Unnoticed);
        let greeted = unnoticed.map(|span| span.to);
        greeted.or(self.spans.first().map(|span| span.from)).unwrap_or_default()
    }

    /// When the last of it was over, in seconds.
    pub fn done(&self) -> f64 {
        self.spans.iter().map(|span| span.to).fold(0.0, f64::max)
    }
}

impl Timeline {
    /// The clients in the order in which they were greeted: of a server that serves one after the other, a staircase.
    pub fn clients_in_order(&self) -> Vec<&Lane> {
        let mut clients: Vec<_> = self.clients.iter().collect();
        clients.sort_by(|a, b| a.greeted().total_cmp(&b.greeted()));
        clients
    }

    /// How many of the lanes are threads.
    pub fn threads(&self) -> u64 {
        self.server.iter().filter(|lane| !lane.name.starts_with("task ")).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_in_json_what_it_was() {
        let span = Span::new("on_read", 1.000_123_4, 1.000_456_7);
        let json = serde_json::to_string(&span).unwrap();
        assert_eq!(json, r#"["on_read",1000123.4,1000456.7]"#);
        assert_eq!(serde_json::from_str::<Span>(&json).unwrap().kind, Kind::Callback);
    }
}
