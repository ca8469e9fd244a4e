//! The exercises of the seven steps.

use std::thread;
use std::time::{Duration, Instant};

use check::{Client, Failure, Promise, ensure};
use serde_json::Value;

use crate::{Base, Exercise, Program, Work};

pub(super) const EXERCISES: &[Exercise] = &[Exercise {
    name: "step4-adaptive",
    base: Base::Package("step4-nonblocking-poll"),
    program: Program::Main,
    first: true,
    judge: adaptive,
}];

/// How often the server has made a call, by its `--stats`.
fn calls(stdout: &str, call: &str) -> u64 {
    let stats: Value = stdout
        .lines()
        .next_back()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_default();
    stats["syscalls"][call]["calls"].as_u64().unwrap_or_default()
}

/// Sends so many messages, each when the one before has been answered; how long that took.
fn chat(client: &mut Client, messages: usize) -> Result<Duration, Failure> {
    let started = Instant::now();
    for _ in 0..messages {
        client.echo(b"^hello$")?;
    }
    Ok(started.elapsed())
}

fn adaptive(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q", "--stats"])?;
    let took = chat(&mut Client::greeted(server.address())?, 100)?;
    ensure(took < Duration::from_secs(5), || {
        format!("a hundred messages, one after the other, took {:.1} s", took.as_secs_f64())
    })?;
    server.stop()?;

    let server = work.start(&["-q", "--stats"])?;
    let silent = Client::greeted(server.address())?;
    thread::sleep(Duration::from_secs(3));
    let finished = server.stop()?;
    drop(silent);
    let asked = calls(&finished.stdout, "recv");
    ensure(asked < 60, || format!("{asked} recvs in three seconds, beside one silent client"))?;
    ensure(asked > 2, || format!("{asked} recvs in three seconds: it hardly asks any more"))?;
    work.keeps(&[Promise::Protocol, Promise::Isolation, Promise::Concurrency], &[])
}
