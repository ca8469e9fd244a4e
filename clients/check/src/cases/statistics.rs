//! `--stats` and `--trace`.

use std::collections::HashMap;
use std::fs;

use serde_json::Value;

use super::lifecycle::{stopped_while_they_talk, within_the_grace_period};
use crate::client::{Client, Failure, Outcome, ensure};
use crate::talkers::talkers;
use crate::{Case, Promise, Target};

pub(super) const CASES: &[Case] = &[
    case("stats", "--stats ends with one JSON object that counts clients and calls", stats),
    case("sigterm-counted", "what the log says was sent arrives, though SIGTERM comes", counted),
    case("trace", "--trace writes a begin and an end for each call", trace),
    case(
        "trace-unwritable",
        "a trace that cannot be written is one line and exit code 1",
        unwritable,
    ),
];

const fn case(name: &'static str, about: &'static str, run: fn(&Target) -> Outcome) -> Case {
    Case { name, promise: Promise::Statistics, about, needs_process: true, obstacle: || None, run }
}

/// Three clients, two messages each.
fn some_clients(address: std::net::SocketAddr) -> Outcome {
    for _ in 0..3 {
        let mut client = Client::greeted(address)?;
        client.echo(b"^one$")?;
        client.echo(b"^two$")?;
        client.half_close()?;
        client.expect_end(false)?;
    }
    Ok(())
}

fn parse(line: &str) -> Result<Value, Failure> {
    serde_json::from_str(line).map_err(|error| Failure(format!("{error}: {line}")))
}

fn stats(target: &Target) -> Outcome {
    let server = target.start(&["--stats"])?;
    some_clients(server.address())?;
    let finished = server.stop()?;
    let stats = parse(finished.stdout.lines().last().unwrap_or_default())?;
    ensure(stats["clients"] == 3, || format!("not 3 clients: {stats}"))?;
    let calls = |name: &str, what: &str| stats["syscalls"][name][what].as_u64().unwrap_or_default();
    // Three greetings and six answers; six requests and three ends.
    ensure(calls("send", "calls") == 9, || format!("not 9 sends: {stats}"))?;
    let received = calls("recv", "calls") - calls("recv", "would_block");
    ensure(received == 9, || format!("not 9 recvs that returned something: {stats}"))?;
    // The last one is interrupted by the signal, where it blocks.
    let accepted = calls("accept", "calls") - calls("accept", "would_block");
    ensure((3..=4).contains(&accepted), || format!("not 3 or 4 accepts: {stats}"))
}

/// `send returned 500 bytes`: from then on they are the peer's.
fn counted(target: &Target) -> Outcome {
    within_the_grace_period(|| {
        let server = target.start(&["-v"])?;
        let talkers = talkers(server.address(), 8)?;
        let greetings = talkers.len();
        let (received, finished) = stopped_while_they_talk(server, talkers)?;
        let sent: usize = finished
            .stderr
            .lines()
            .filter_map(|line| {
                line.split_once("send returned ")?.1.split_once(' ')?.0.parse::<usize>().ok()
            })
            .sum();
        ensure(sent > greetings, || "the log does not say what was sent".to_owned())?;
        ensure(greetings + received >= sent, || {
            format!(
                "{received} bytes and {greetings} greetings have arrived of {sent} that were sent"
            )
        })
    })
}

fn trace(target: &Target) -> Outcome {
    let path =
        std::env::temp_dir().join(format!("check-trace-{}-{:p}.json", std::process::id(), target));
    let server = target.start(&["--trace", &path.to_string_lossy()])?;
    some_clients(server.address())?;
    let status = server.stop()?.status;
    let text = fs::read_to_string(&path)?;
    let _ = fs::remove_file(&path);

    ensure(text.starts_with("[\n"), || "it does not begin with a bracket".to_owned())?;
    let events: Vec<Value> = if status.success() {
        let not_json = |error| Failure(format!("after a clean end it is not JSON: {error}"));
        serde_json::from_str(&text).map_err(not_json)?
    } else {
        // Without a clean end, the closing bracket may be missing.
        let lines = text.lines().skip(1).filter(|&line| line != "]");
        lines.map(|line| parse(line.trim_end_matches(','))).collect::<Result<_, _>>()?
    };
    let mut open: HashMap<u64, Vec<String>> = HashMap::new();
    let mut complete: HashMap<String, u64> = HashMap::new();
    let mut last = HashMap::new();
    for event in events {
        let (name, thread) =
            (event["name"].as_str().unwrap_or_default(), event["tid"].as_u64().unwrap_or_default());
        let stack = open.entry(thread).or_default();
        match event["ph"].as_str() {
            Some("B") => stack.push(name.to_owned()),
            Some("E") => {
                ensure(stack.pop().as_deref() == Some(name), || {
                    format!("an end without its begin: {event}")
                })?;
                *complete.entry(name.to_owned()).or_default() += 1;
            }
            _ => continue,
        }
        let time = event["ts"].as_f64().ok_or_else(|| Failure(format!("no time: {event}")))?;
        let before = last.insert(thread, time).unwrap_or(0.0);
        ensure(before <= time, || format!("time goes backwards on thread {thread}: {event}"))?;
    }
    for (name, least) in [("accept", 3), ("recv", 9), ("send", 9)] {
        let count = complete.get(name).copied().unwrap_or_default();
        ensure(count >= least, || format!("{count} times {name} in the trace, expected {least}"))?;
    }
    Ok(())
}

fn unwritable(target: &Target) -> Outcome {
    let output = target.run("0", &["--trace", "/no/such/folder/trace.json"])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let expected = "error: cannot write /no/such/folder/trace.json: No such file or directory\n";
    ensure(output.status.code() == Some(1) && stderr == expected, || {
        format!("{}: {stderr:?}", output.status)
    })
}
