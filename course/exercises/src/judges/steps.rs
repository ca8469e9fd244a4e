//! The exercises of the seven steps.

use std::fs;
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use check::{Client, Failure, Promise, ensure, is_timeout};
use nix::sys::signal::Signal;
use serde_json::Value;
use subprocess::Server;

use super::{is_greeted, stops};
use crate::{Base, Exercise, Program, Work};

const fn exercise(
    name: &'static str,
    package: &'static str,
    first: bool,
    judge: fn(&Work) -> Result<(), Failure>,
) -> Exercise {
    Exercise { name, base: Base::Package(package), program: Program::Main, first, judge }
}

pub(super) const EXERCISES: &[Exercise] = &[
    exercise("step1-at-most", "step1-sequential", true, two_seconds_in_all),
    exercise("step1-accept-thread", "step1-sequential", false, accept_thread),
    exercise("step2-small-stacks", "step2-thread-per-client", false, small_stacks),
    exercise("step2-at-most", "step2-thread-per-client", true, eight_at_a_time),
    exercise("step2-pool", "step2-thread-per-client", false, pool),
    exercise("step3-still-waiting", "step3-blocking", true, still_waiting),
    exercise("step3-in-turns", "step3-blocking", false, in_turns),
    exercise("step4-only-in-vain", "step4-nonblocking-poll", false, only_in_vain),
    exercise("step4-adaptive", "step4-nonblocking-poll", true, adaptive),
    exercise("step5-heartbeat", "step5-select", true, heartbeat),
    exercise("step6-sixteen", "step6-epoll-kqueue", false, sixteen),
    Exercise {
        program: Program::Example("edge"),
        ..exercise("step6-fair-edge", "step6-epoll-kqueue", true, fair_edge)
    },
    Exercise {
        program: Program::Tests,
        ..exercise("step7-timer-again", "step7-event-loop", false, Work::passes_its_tests)
    },
    exercise("step7-silence", "step7-event-loop", true, silence),
];

/// What a server still promises that serves several at a time.
const CONCURRENT: [Promise; 4] =
    [Promise::Protocol, Promise::Isolation, Promise::Concurrency, Promise::Backpressure];

/// A client that waits its turn: it has connected, and has not been greeted yet.
fn waiting(server: &Server) -> Result<Client, Failure> {
    Client::connect(server.address())
}

/// It is closed, by an end or a reset, within so long. `meanwhile` is done again and again until then, and may fail.
fn closed_after(
    client: &mut Client,
    limit: Duration,
    mut meanwhile: impl FnMut(&mut Client),
) -> Result<Duration, Failure> {
    let started = Instant::now();
    client.stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    loop {
        match client.stream.read(&mut [0; 256]) {
            Ok(0) => return Ok(started.elapsed()),
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(_) => return Ok(started.elapsed()),
        }
        ensure(started.elapsed() < limit, || {
            format!("it is still connected after {:.1} s", limit.as_secs_f64())
        })?;
        meanwhile(client);
    }
}

/// What `--stats` printed.
fn stats(stdout: &str) -> Value {
    let last = stdout.lines().next_back();
    last.and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default()
}

/// Sends so many messages, each when the one before has been answered; how long that took.
fn chat(client: &mut Client, messages: usize) -> Result<Duration, Failure> {
    let started = Instant::now();
    for _ in 0..messages {
        client.echo(b"^hello$")?;
    }
    Ok(started.elapsed())
}

/// It does not use a whole core while nothing happens.
fn sleeps(server: &Server) -> Result<(), Failure> {
    let Some(before) = server.cpu_time() else { return Ok(()) };
    thread::sleep(Duration::from_secs(1));
    let used = server.cpu_time().unwrap_or_default().saturating_sub(before);
    ensure(used < Duration::from_millis(300), || {
        format!("it used {used:?} of CPU time in a second in which nothing happened")
    })
}

fn two_seconds_in_all(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q"])?;
    let mut slow = Client::greeted(server.address())?;
    slow.send(b"^")?;
    let mut last = Instant::now();
    let limit = Duration::from_secs(12);
    let lived = closed_after(&mut slow, limit, |slow| {
        if last.elapsed() >= Duration::from_millis(300) {
            let _ = slow.stream.write(b"a");
            last = Instant::now();
        }
    })
    .map_err(|failure| Failure(format!("a client says a byte every 300 ms, and {failure}")))?;
    ensure(lived >= Duration::from_millis(1800), || {
        format!("a client that says a byte every 300 ms was closed after {lived:.1?} already")
    })?;

    let mut deaf = Client::greeted(server.address())?;
    deaf.send(b"^")?;
    deaf.stream.set_write_timeout(Some(Duration::from_millis(100)))?;
    let block = [b'a'; 64 * 1024];
    let started = Instant::now();
    loop {
        match deaf.stream.write(&block) {
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(_) => break,
        }
        ensure(started.elapsed() < limit, || {
            "a client sends and does not read, and is still connected after 12 s".to_owned()
        })?;
    }
    chat(&mut Client::greeted(server.address())?, 100)?;
    drop(server);
    work.keeps(&[Promise::Isolation], &[])
}

fn accept_thread(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q", "--stats"])?;
    let first = Client::greeted(server.address())?;
    let mut others = (0..5).map(|_| waiting(&server)).collect::<Result<Vec<_>, _>>()?;
    let is_served = is_greeted(&mut others[0], Duration::from_millis(300))?;
    ensure(!is_served, || "two clients are served at the same time".to_owned())?;
    if let Some(open) = server.open_descriptors() {
        // stdin, stdout, stderr, the listener, its reserve, and six connections.
        ensure(open >= 11, || {
            format!(
                "with six clients connected the server has {open} descriptors: they are still in the backlog"
            )
        })?;
    }
    drop(first);
    for client in &mut others {
        client.expect_greeting()?;
        client.echo(b"^hello$")?;
        client.half_close()?;
        client.expect_end(false)?;
    }
    stops(server)?;
    work.keeps(&[Promise::Protocol, Promise::Isolation, Promise::Lifecycle], &[])
}

fn small_stacks(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q"])?;
    let clients = (0..50).map(|_| Client::greeted(server.address()));
    let mut clients = clients.collect::<Result<Vec<_>, _>>()?;
    let stacks = large_stacks(&server)?;
    ensure(stacks < 25, || {
        format!("50 clients, and {stacks} stacks of a megabyte or more; there should be none")
    })?;
    for client in &mut clients {
        client.echo(&[&b"^"[..], &[b'a'; 10_000], b"$"].concat())?;
    }
    drop(server);
    work.keeps(&[Promise::Protocol, Promise::Concurrency], &[])
}

/// How many of its mappings may be stacks of one to nine MiB: proc_pid_maps(5). (An arena of malloc reserves 64 MiB, and makes
/// little of it writable.)
fn large_stacks(server: &Server) -> Result<usize, Failure> {
    const MIB: u64 = 1024 * 1024;
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.pid()))
        .map_err(|_| Failure("this system does not say how large the stacks are".to_owned()))?;
    let is_large = |line: &&str| {
        let mut fields = line.split_whitespace();
        let (range, access) = (fields.next().unwrap_or_default(), fields.next());
        let ends = range.split_once('-').and_then(|(start, end)| {
            Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
        });
        let size = ends.map_or(0, |(start, end)| end - start);
        access == Some("rw-p") && (MIB..=9 * MIB).contains(&size) && fields.count() <= 3
    };
    Ok(maps.lines().filter(is_large).count())
}

/// Twelve clients, eight of which are served at a time; each that leaves makes room for the next.
fn eight_of_twelve(server: &Server) -> Result<(), Failure> {
    let mut served = Vec::new();
    for _ in 0..8 {
        served.push(Client::greeted(server.address())?);
    }
    let mut others = (0..4).map(|_| waiting(server)).collect::<Result<Vec<_>, _>>()?;
    for other in &mut others {
        let is_served = is_greeted(other, Duration::from_millis(200))?;
        ensure(!is_served, || "a ninth client is served beside eight others".to_owned())?;
    }
    if let Some(threads) = server.threads() {
        ensure(threads <= 9, || format!("with twelve clients it has {threads} threads"))?;
    }
    served.iter_mut().try_for_each(|client| client.echo(b"^hello$"))?;
    for mut other in others {
        served.remove(0);
        other.expect_greeting().map_err(|failure| {
            Failure(format!("one of eight has left, and the next is not served: {failure}"))
        })?;
        other.echo(b"^hello$")?;
        served.push(other);
    }
    Ok(())
}

fn eight_at_a_time(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q"])?;
    eight_of_twelve(&server)?;
    stops(server)?;
    work.keeps(&[Promise::Protocol, Promise::Isolation, Promise::Lifecycle], &[])
}

fn pool(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q"])?;
    // The listener is there before the threads are.
    let has_them = |_| {
        thread::sleep(Duration::from_millis(50));
        server.threads().is_none_or(|threads| threads == 9)
    };
    ensure((0..40).any(has_them), || {
        format!("before its first client it has {} threads", server.threads().unwrap_or_default())
    })?;
    eight_of_twelve(&server)?;
    stops(server)?;
    work.keeps(&[Promise::Protocol, Promise::Isolation, Promise::Lifecycle], &[])
}

fn still_waiting(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["--stats"])?;
    let mut client = Client::greeted(server.address())?;
    thread::sleep(Duration::from_millis(2500));
    sleeps(&server)?;
    client.echo(b"^hello$")?;
    drop(client);
    let finished = server.stop()?;
    let lines = finished.stderr.lines().filter(|line| line.contains("still waiting")).count();
    // On a loaded machine a second may be longer.
    ensure((2..=4).contains(&lines), || {
        format!(
            "a client was silent for three and a half seconds, and the log says `still waiting` {lines} times"
        )
    })?;
    work.keeps(&[Promise::Protocol, Promise::Isolation, Promise::Lifecycle], &[])
}

fn in_turns(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q"])?;
    let mut first = waiting(&server)?;
    let mut second = waiting(&server)?;
    for (client, name) in [(&mut first, "first"), (&mut second, "second")] {
        let greeted = is_greeted(client, Duration::from_secs(2))?;
        ensure(greeted, || format!("two clients have connected, and the {name} is not greeted"))?;
    }
    for _ in 0..5 {
        first.echo(b"^hello$")?;
        second.echo(b"^hello$")?;
    }
    second.send(b"^out of turn$")?;
    second.stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let answered = second.stream.read(&mut [0; 64]).is_ok();
    ensure(!answered, || "the second is answered although it is the first one's turn".to_owned())?;
    second.stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    first.echo(b"^my turn$")?;
    second.expect(b"pvu!pg!uvso")?;
    drop(first);
    chat(&mut second, 10)?;
    drop(second);
    let (mut third, mut fourth) = (waiting(&server)?, waiting(&server)?);
    third.expect_greeting()?;
    fourth.expect_greeting()?;
    third.echo(b"^hello$")?;
    fourth.echo(b"^hello$")
}

fn only_in_vain(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q", "--interval", "1000"])?;
    let mut client = Client::greeted(server.address())?;
    let message = [&b"^"[..], &vec![b'a'; 1024 * 1024], b"$"].concat();
    let started = Instant::now();
    let mut sender = client.stream.try_clone()?;
    let sending = thread::spawn(move || sender.write_all(&message));
    client.expect(&vec![b'b'; 1024 * 1024])?;
    let took = started.elapsed();
    let _ = sending.join();
    ensure(took < Duration::from_secs(5), || {
        format!("an answer of 1 MiB took {:.0} s", took.as_secs_f64())
    })?;
    sleeps(&server)?;
    drop(server);
    work.keeps(&[Promise::Protocol, Promise::Isolation], &["--interval", "5"])
}

fn adaptive(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q", "--stats"])?;
    let took = chat(&mut Client::greeted(server.address())?, 100)?;
    ensure(took < Duration::from_secs(5), || {
        format!(
            "a hundred messages, one after the other, took {:.1} s, not less than 5",
            took.as_secs_f64()
        )
    })?;
    server.stop()?;

    let server = work.start(&["-q", "--stats"])?;
    let silent = Client::greeted(server.address())?;
    thread::sleep(Duration::from_secs(3));
    let finished = server.stop()?;
    drop(silent);
    let calls = &stats(&finished.stdout)["syscalls"]["recv"]["calls"];
    let asked = calls.as_u64().unwrap_or_default();
    ensure(asked < 60, || {
        format!("{asked} recvs in three seconds, beside one silent client, not fewer than 60")
    })?;
    ensure(asked > 2, || format!("{asked} recvs in three seconds: it hardly asks any more"))?;
    work.keeps(&[Promise::Protocol, Promise::Isolation, Promise::Concurrency], &[])
}

fn heartbeat(work: &Work) -> Result<(), Failure> {
    let server = work.start(&[])?;
    let silent =
        (0..3).map(|_| Client::greeted(server.address())).collect::<Result<Vec<_>, _>>()?;
    thread::sleep(Duration::from_millis(2500));
    sleeps(&server)?;
    let mut fourth = Client::greeted(server.address())?;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(3500) {
        chat(&mut fourth, 10)?;
    }
    drop((silent, fourth));
    let log = server.stop()?.stderr;
    for (peers, what) in
        [("3 peers", "beside three silent clients"), ("4 peers", "while one client talks")]
    {
        let beats = log.lines().filter(|line| line.contains(peers)).count();
        ensure((2..=5).contains(&beats), || {
            format!("{what} the log says `{peers}` {beats} times in three and a half seconds")
        })?;
    }
    work.keeps(&CONCURRENT, &[])
}

/// The names of the calls in a server's trace, in order.
fn traced(work: &Work, server: Server) -> Result<Vec<String>, Failure> {
    server.stop()?;
    let text = fs::read_to_string(work.folder().join("trace.json"))?;
    let events: Value = serde_json::from_str(&text)
        .map_err(|error| Failure(format!("the trace cannot be read: {error}")))?;
    let begins = |event: &Value| {
        let name = event["name"].as_str()?;
        (event["ph"] == "B" || event["ph"] == "X").then(|| name.to_owned())
    };
    let events = events["traceEvents"].as_array().or_else(|| events.as_array());
    Ok(events.into_iter().flatten().filter_map(begins).collect())
}

/// The longest row of calls of one kind between two waits for events.
fn longest_row(calls: &[String], kind: &str) -> usize {
    let turns = calls.split(|call| call == "epoll_wait" || call == "kevent");
    turns.map(|turn| turn.iter().filter(|call| *call == kind).count()).max().unwrap_or_default()
}

fn start_with_trace(work: &Work) -> Result<Server, Failure> {
    let trace = work.folder().join("trace.json").display().to_string();
    work.start(&["-q", "--trace", &trace])
}

fn sixteen(work: &Work) -> Result<(), Failure> {
    let server = start_with_trace(work)?;
    server.signal(Signal::SIGSTOP)?;
    let mut clients = (0..200).map(|_| waiting(&server)).collect::<Result<Vec<_>, _>>()?;
    server.signal(Signal::SIGCONT)?;
    for (number, client) in clients.iter_mut().enumerate() {
        client
            .expect_greeting()
            .map_err(|failure| Failure(format!("client {} of 200: {failure}", number + 1)))?;
    }
    drop(clients);
    let accepts = longest_row(&traced(work, server)?, "accept");
    ensure(accepts <= 17, || format!("{accepts} accepts between two waits"))?;
    work.keeps(&CONCURRENT, &[])
}

fn fair_edge(work: &Work) -> Result<(), Failure> {
    const SIZE: usize = 32 * 1024 * 1024;
    let server = start_with_trace(work)?;
    let mut other = Client::greeted(server.address())?;
    let mut flood = Client::greeted(server.address())?;
    let mut sender = flood.stream.try_clone()?;
    let sending = thread::spawn(move || {
        let message = [&b"^"[..], &vec![b'a'; SIZE], b"$"].concat();
        sender.write_all(&message)
    });
    let address = server.address();
    let chatting = thread::spawn(move || {
        let chatted = (0..20).try_for_each(|_| other.echo(b"^hello$"));
        chatted.and_then(|()| Client::greeted(address)).map(drop)
    });
    flood.expect(&vec![b'b'; SIZE]).map_err(|failure| Failure(format!("of 32 MiB: {failure}")))?;
    let _ = sending.join();
    match chatting.join() {
        Ok(outcome) => outcome.map_err(|failure| Failure(format!("a second client: {failure}")))?,
        Err(_) => return Err(Failure("the second client panicked".to_owned())),
    }
    let recvs = longest_row(&traced(work, server)?, "recv");
    // The other one may have a turn in the same row.
    ensure(recvs <= 20, || format!("{recvs} recvs between two waits"))?;
    work.keeps(&CONCURRENT, &[])
}

fn silence(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q"])?;
    let mut silent =
        (0..10).map(|_| Client::greeted(server.address())).collect::<Result<Vec<_>, _>>()?;
    let mut speaker = Client::greeted(server.address())?;
    let started = Instant::now();
    let mut longest = Duration::ZERO;
    let mut spoke = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(200));
        longest = longest.max(spoke.elapsed());
        spoke = Instant::now();
        // On a machine that had other things to do we have been silent ourselves.
        match speaker.echo(b"^hello$") {
            Err(_) if longest > Duration::from_secs(1) => {
                speaker = Client::greeted(server.address())?
            }
            outcome => outcome.map_err(|failure| {
                Failure(format!("a client that speaks every 200 ms: {failure}"))
            })?,
        }
    }
    for client in &mut silent {
        closed_after(client, Duration::from_millis(500), |_| {}).map_err(|_| {
            Failure("a client was silent for five seconds, and is still connected".to_owned())
        })?;
    }
    if let Some(threads) = server.threads() {
        ensure(threads == 1, || format!("it has {threads} threads: the loop is to do it"))?;
    }
    let mut early = Client::greeted(server.address())?;
    thread::sleep(Duration::from_millis(1000));
    early.echo(b"^hello$").map_err(|failure| {
        Failure(format!("a client that was silent for one second: {failure}"))
    })?;
    drop((server, early));
    // Other cases have clients that are silent for a while, on a machine that has other things to do.
    work.keeps(&[Promise::Isolation], &[])
}
