//! Who did what when: the server's threads and tasks, from its `--trace`, and the clients, from the client itself. Both
//! look at the same clock (CLOCK_MONOTONIC).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;
use simple_client::{Doing, Report};

/// A run.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The server's threads, and then its tasks.
    pub server: Vec<Lane>,
    /// The clients.
    pub clients: Vec<Lane>,
}

/// A thread, a task, or a client.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// What it did, in the order of its beginning.
    pub spans: Vec<Span>,
}

/// A stretch of time.
#[derive(Clone, Debug, PartialEq)]
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
    /// A client that the server has yet to notice.
    Unnoticed,
    /// A client that pauses, as its script says.
    Pausing,
    /// A client that sends or receives.
    Busy,
}

impl Timeline {
    /// Reads the server's trace, and puts the client's report beside it.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub fn new(trace: &Path, report: &Report) -> io::Result<Self> {
        let seconds = report.elapsed;
        let mut server = server_lanes(&fs::read_to_string(trace)?, report.started);
        for lane in &mut server {
            // What happened before the first client and after the last is the server's own affair.
            lane.spans.retain(|span| span.to > 0.0 && span.from < seconds);
            for span in &mut lane.spans {
                span.from = span.from.max(0.0);
                span.to = span.to.min(seconds);
            }
        }
        server.retain(|lane| !lane.spans.is_empty());
        let clients = report.connections.iter().map(|connection| Lane {
            name: connection.name.clone(),
            spans: connection.spans.iter().map(client_span).collect(),
        });
        Ok(Timeline { seconds, server, clients: clients.collect() })
    }
}

fn client_span(span: &simple_client::Span) -> Span {
    let (name, kind) = match span.doing {
        Doing::Connecting => ("connecting", Kind::Unnoticed),
        Doing::WaitingForGreeting => ("waiting for the greeting", Kind::Unnoticed),
        Doing::Sending => ("sending", Kind::Busy),
        Doing::Pausing => ("pausing", Kind::Pausing),
        Doing::Receiving => ("receiving", Kind::Busy),
    };
    Span { name: name.to_owned(), kind, from: span.from, to: span.to }
}

/// The lanes of a Chrome trace whose events are a line each: `B` begins a span, `E` ends the one that began last. A span
/// that never ends, of a thread that was asleep when its process ended, is not written either; it ends with the trace.
/// Threads come first, and then tasks, each in the order of their numbers.
fn server_lanes(trace: &str, started: f64) -> Vec<Lane> {
    let mut lanes: BTreeMap<u64, Lane> = BTreeMap::new();
    let mut open: BTreeMap<u64, Vec<(String, f64)>> = BTreeMap::new();
    let mut last = 0.0;
    let end = |lanes: &mut BTreeMap<u64, Lane>, thread, (name, from): (String, f64), to| {
        let kind = server_kind(&name);
        if let Some(lane) = lanes.get_mut(&thread) {
            lane.spans.push(Span { name, kind, from, to });
        }
    };
    for line in trace.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line.trim_end_matches(',')) else { continue };
        let Some(thread) = event["tid"].as_u64() else { continue };
        let name = event["name"].as_str().unwrap_or_default().to_owned();
        let at = (event["ts"].as_f64().unwrap_or_default() - started) / 1e6;
        match event["ph"].as_str() {
            Some("M") => {
                let name = event["args"]["name"].as_str().unwrap_or("thread").to_owned();
                lanes.insert(thread, Lane { name, spans: Vec::new() });
                continue;
            }
            Some("B") => open.entry(thread).or_default().push((name, at)),
            Some("E") => {
                if let Some(begun) = open.entry(thread).or_default().pop() {
                    end(&mut lanes, thread, begun, at);
                }
            }
            _ => continue,
        }
        last = at.max(last);
    }
    for (thread, spans) in open {
        spans.into_iter().for_each(|begun| end(&mut lanes, thread, begun, last));
    }
    let mut lanes: Vec<_> = lanes.into_values().collect();
    // A stable sort: among themselves they stay as they are. (A task may have a number before its thread has one.)
    lanes.sort_by_key(|lane| lane.name.starts_with("task "));
    for lane in &mut lanes {
        // Whatever contains another begins before it, and ends after it: drawn first it lies underneath.
        lane.spans.sort_by(|a, b| a.from.total_cmp(&b.from).then(b.to.total_cmp(&a.to)));
    }
    lanes
}

fn server_kind(name: &str) -> Kind {
    if name.starts_with("on_") || name.starts_with("after_") {
        Kind::Callback
    } else if name == "await" || name.ends_with(".await") {
        Kind::Asleep
    } else {
        Kind::Call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_lanes_of_spans() {
        let trace = r#"[
{"name":"thread_name","ph":"M","pid":1,"tid":1,"args":{"name":"main"}},
{"name":"select","ph":"B","pid":1,"tid":1,"ts":1000000.0},
{"name":"select","ph":"E","pid":1,"tid":1,"ts":1500000.0},
{"name":"on_peer_ready_recv","ph":"B","pid":1,"tid":1,"ts":1500000.0},
{"name":"recv","ph":"B","pid":1,"tid":1,"ts":1500000.0},
{"name":"recv","ph":"E","pid":1,"tid":1,"ts":1600000.0},
{"name":"on_peer_ready_recv","ph":"E","pid":1,"tid":1,"ts":1700000.0},
{"name":"thread_name","ph":"M","pid":1,"tid":2,"args":{"name":"other"}},
{"name":"recv","ph":"B","pid":1,"tid":2,"ts":1600000.0},
"#;
        let lanes = server_lanes(trace, 500_000.0);
        let span = |name: &str, kind, from, to| Span { name: name.to_owned(), kind, from, to };
        assert_eq!(lanes.len(), 2);
        assert_eq!(lanes[0].name, "main");
        assert_eq!(
            lanes[0].spans,
            [
                span("select", Kind::Call, 0.5, 1.0),
                span("on_peer_ready_recv", Kind::Callback, 1.0, 1.2),
                span("recv", Kind::Call, 1.0, 1.1),
            ]
        );
        assert_eq!(lanes[1].spans, [span("recv", Kind::Call, 1.1, 1.2)], "it never ended");
    }

    #[test]
    fn tasks_stand_below_the_threads_in_the_order_of_their_numbers() {
        let named = |number: u64, name: &str| {
            format!(
                "{{\"name\":\"thread_name\",\"ph\":\"M\",\"tid\":{number},\"args\":{{\"name\":\"{name}\"}}}},\n"
            )
        };
        let tasks = [1, 10, 9, 11, 100].map(|number| named(number, &format!("task {number}")));
        let trace = tasks.concat() + &named(2, "main") + &named(12, "worker");
        let names: Vec<_> = server_lanes(&trace, 0.0).into_iter().map(|lane| lane.name).collect();
        assert_eq!(names, ["main", "worker", "task 1", "task 9", "task 10", "task 11", "task 100"]);
    }

    #[test]
    fn a_task_is_asleep_at_await_and_awake_in_its_calls() {
        let trace = r#"[
{"name":"thread_name","ph":"M","pid":1,"tid":3,"args":{"name":"task 3"}},
{"name":"readable.await","ph":"B","pid":1,"tid":3,"ts":1000000.0},
{"name":"readable.await","ph":"E","pid":1,"tid":3,"ts":2000000.0},
{"name":"recv","ph":"B","pid":1,"tid":3,"ts":2000000.0},
{"name":"recv","ph":"E","pid":1,"tid":3,"ts":2100000.0},
{"name":"await","ph":"B","pid":1,"tid":3,"ts":2100000.0},
{"name":"await","ph":"E","pid":1,"tid":3,"ts":2500000.0},
{"name":"sleep.await","ph":"B","pid":1,"tid":3,"ts":2500000.0},
{"name":"recv","ph":"B","pid":1,"tid":4,"ts":3000000.0},
"#;
        let lanes = server_lanes(trace, 0.0);
        let span = |name: &str, kind, from, to| Span { name: name.to_owned(), kind, from, to };
        assert_eq!(
            lanes[0].spans,
            [
                span("readable.await", Kind::Asleep, 1.0, 2.0),
                span("recv", Kind::Call, 2.0, 2.1),
                span("await", Kind::Asleep, 2.1, 2.5),
                span("sleep.await", Kind::Asleep, 2.5, 3.0), // it never ended
            ]
        );
    }
}
