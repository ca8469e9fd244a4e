//! A timeline, from the server's `--trace` and what the client has noted.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;
use simple_client::{Doing, Report};

use crate::timeline::{Lane, Span, Timeline};

impl Timeline {
    /// Reads the server's trace, and puts the client's report beside it.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub fn new(trace: &Path, report: &Report) -> io::Result<Self> {
        let server = lanes_during(trace, report.started, report.elapsed)?;
        let clients = report.connections.iter().map(|connection| Lane {
            name: connection.name.clone(),
            spans: connection.spans.iter().map(client_span).collect(),
        });
        Ok(Timeline { seconds: report.elapsed, server, clients: clients.collect() })
    }
}

fn client_span(span: &simple_client::Span) -> Span {
    let name = match span.doing {
        Doing::Connecting => "connecting",
        Doing::WaitingForGreeting => "waiting for the greeting",
        Doing::Sending => "sending",
        Doing::Pausing => "pausing",
        Doing::Receiving => "receiving",
    };
    Span::new(name, span.from, span.to)
}

/// The server's lanes in the `seconds` after `started`, which is in microseconds of CLOCK_MONOTONIC.
///
/// # Errors
/// The trace cannot be read.
pub(crate) fn lanes_during(trace: &Path, started: f64, seconds: f64) -> io::Result<Vec<Lane>> {
    let mut lanes = server_lanes(&fs::read_to_string(trace)?, started);
    for lane in &mut lanes {
        // What happened before the first client and after the last is the server's own affair.
        lane.spans.retain(|span| span.to > 0.0 && span.from < seconds);
        for span in &mut lane.spans {
            span.from = span.from.max(0.0);
            span.to = span.to.min(seconds);
        }
    }
    lanes.retain(|lane| !lane.spans.is_empty());
    Ok(lanes)
}

/// The lanes of a Chrome trace whose events are a line each: `B` begins a span, `E` ends the one that began last. A span
/// that never ends, of a thread that was asleep when its process ended, is not written either; it ends with the trace.
/// Threads come first, and then tasks, each in the order of their numbers. The closing bracket is no event, and may be
/// missing.
fn server_lanes(trace: &str, started: f64) -> Vec<Lane> {
    let mut lanes: BTreeMap<u64, Lane> = BTreeMap::new();
    let mut open: BTreeMap<u64, Vec<(String, f64)>> = BTreeMap::new();
    let mut last = 0.0;
    let end = |lanes: &mut BTreeMap<u64, Lane>, thread, (name, from): (String, f64), to| {
        if let Some(lane) = lanes.get_mut(&thread) {
            lane.spans.push(Span::new(&name, from, to));
        }
    };
    for line in trace.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line.trim_end_matches(',')) else { continue };
        let Some(thread) = event["tid"].as_u64() else { continue };
        let name = event["name"].as_str().unwrap_or_default().to_owned();
        let at = (event["ts"].as_f64().unwrap_or_default() - started) / 1e6;
        match event["ph"].as_str() {
            Some("M") if name == "thread_name" => {
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
    let nameless = lanes.iter_mut().filter(|lane| lane.name == "thread");
    nameless.zip(1..).for_each(|(lane, number)| lane.name = format!("thread {number}"));
    // A stable sort: among themselves they stay as they are. (A task may have a number before its thread has one.)
    lanes.sort_by_key(|lane| lane.name.starts_with("task "));
    for lane in &mut lanes {
        // A span that contains another begins before it, and ends after it: if drawn first, it lies underneath.
        lane.spans.sort_by(|a, b| a.from.total_cmp(&b.from).then(b.to.total_cmp(&a.to)));
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Kind;

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
        let span = |name: &str, kind, from, to| {
            let span = Span::new(name, from, to);
            assert_eq!(span.kind, kind);
            span
        };
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
    fn a_trace_that_was_ended_says_the_same() {
        let open = "[\n{\"name\":\"thread_name\",\"ph\":\"M\",\"tid\":1,\"args\":{\"name\":\"thread\"}},\n\
            {\"name\":\"recv\",\"ph\":\"B\",\"tid\":1,\"ts\":1000.0},\n";
        let ended = format!(
            "{open}{{\"name\":\"process_name\",\"ph\":\"M\",\"args\":{{\"name\":\"x\"}}}}\n]\n"
        );
        for trace in [open, &ended] {
            let lanes = server_lanes(trace, 0.0);
            assert_eq!(lanes.len(), 1);
            assert_eq!(lanes[0].name, "thread 1", "threads without a name have a number");
            assert_eq!(lanes[0].spans, [Span::new("recv", 0.001, 0.001)]);
        }
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
        let span = |name: &str, kind, from, to| {
            let span = Span::new(name, from, to);
            assert_eq!(span.kind, kind);
            span
        };
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
