//! The exercises of the labs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use check::{Client, Failure, Promise, ensure, is_timeout, wait_until};
use serde_json::Value;
use subprocess::Server;

use super::{is_greeted, stops};
use crate::{Base, Exercise, Program, Work};

const ASYNC: Base = Base::Package("labs/async-await");
const THREADS: Base = Base::Package("labs/threads");
const HERD: Base = Base::Package("labs/thundering-herd");
const WEB: Base = Base::Package("labs/web-server");
const ASYNC_ECHO: Program = Program::Binary("async-echo");
const WEB_POOL: Program = Program::Binary("web-pool");

const fn exercise(
    name: &'static str,
    base: Base,
    program: Program,
    first: bool,
    judge: fn(&Work) -> Result<(), Failure>,
) -> Exercise {
    Exercise { name, base, program, first, judge }
}

pub(super) const EXERCISES: &[Exercise] = &[
    exercise("async-silence", ASYNC, ASYNC_ECHO, true, silence),
    exercise("async-limit", ASYNC, ASYNC_ECHO, false, four_clients),
    exercise("async-room", ASYNC, ASYNC_ECHO, false, room),
    exercise("async-abort", ASYNC, Program::Tests, false, Work::passes_its_tests),
    exercise("threads-try-lock", THREADS, Program::Example("transfers"), true, try_lock),
    exercise("threads-queue", THREADS, Program::Tests, false, Work::passes_its_tests),
    exercise("herd-reorder", HERD, Program::Main, true, reorder),
    exercise("herd-stand-back", HERD, Program::Main, false, stand_back),
    exercise("web-late-jobs", WEB, WEB_POOL, true, late_jobs),
    exercise("web-hire-by-waiting", WEB, WEB_POOL, false, hire_by_waiting),
];

fn silence(work: &Work) -> Result<(), Failure> {
    const LIMIT: Duration = Duration::from_secs(6);
    let server = work.start(&["-q"])?;
    let mut speaker = Client::greeted(server.address())?;
    let started = Instant::now();
    let mut silent = Client::greeted(server.address())?;
    silent.stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut ended = None;
    let (mut spoke, mut longest) = (Instant::now(), Duration::ZERO);
    // Longer than the silence that is allowed: the speaker must outlive it.
    while ended.is_none() || started.elapsed() < Duration::from_secs(4) {
        match silent.stream.read(&mut [0; 64]) {
            _ if ended.is_some() => thread::sleep(Duration::from_millis(100)),
            Ok(0) => ended = Some(started.elapsed()),
            Ok(_) => return Err(Failure("a silent client is sent something".to_owned())),
            Err(error) if is_timeout(&error) => {}
            Err(_) => ended = Some(started.elapsed()),
        }
        ensure(ended.is_some() || started.elapsed() < LIMIT, || {
            format!("a client has said nothing for {LIMIT:?}, and is still connected")
        })?;
        longest = longest.max(spoke.elapsed());
        spoke = Instant::now();
        match speaker.echo(b"^hello$") {
            // On a machine that had other things to do we have been silent ourselves.
            Err(_) if longest > Duration::from_secs(1) => {
                speaker = Client::greeted(server.address())?;
            }
            outcome => outcome.map_err(|failure| {
                Failure(format!("a client that speaks every 100 ms: {failure}"))
            })?,
        }
    }
    let lived = ended.unwrap_or_default();
    ensure(lived >= Duration::from_millis(1900), || {
        format!("a silent client was closed after {lived:.1?} already")
    })?;

    // The cases of check may take their time between two words; so here is some of what they ask for.
    speaker.reset()?;
    let message = [&b"^"[..], &[b'a'; 1 << 20], b"$"].concat();
    let mut client = Client::greeted(server.address())?;
    let mut sender = client.stream.try_clone()?;
    let sending = thread::spawn(move || sender.write_all(&message));
    client.expect(&[b'b'; 1 << 20])?;
    let _ = sending.join();
    client.half_close()?;
    client.expect_end(false)?;
    stops(server)
}

fn four_clients(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q"])?;
    let address = server.address();
    let mut served = (0..4).map(|_| Client::greeted(address)).collect::<Result<Vec<_>, _>>()?;
    let open = server.open_descriptors();
    let mut waiting = (0..3).map(|_| Client::connect(address)).collect::<Result<Vec<_>, _>>()?;
    for client in &mut waiting {
        let greeted = is_greeted(client, Duration::from_millis(200))?;
        ensure(!greeted, || "a fifth client is served beside four others".to_owned())?;
    }
    ensure(server.open_descriptors() == open, || {
        "the fifth client has been accepted: it should wait in the backlog".to_owned()
    })?;
    let before = server.cpu_time();
    thread::sleep(Duration::from_millis(500));
    if let (Some(before), Some(now)) = (before, server.cpu_time()) {
        let used = now.saturating_sub(before);
        ensure(used < Duration::from_millis(150), || {
            format!("while three clients waited it used {used:?} of CPU time in half a second")
        })?;
    }
    served.iter_mut().try_for_each(|client| client.echo(b"^hello$"))?;

    for (how, mut next) in ["left", "reset its connection", "half-closed"].into_iter().zip(waiting)
    {
        let mut leaver = served.remove(0);
        match how {
            "left" => drop(leaver),
            "half-closed" => {
                leaver.half_close()?;
                leaver.expect_end(false)?;
            }
            _ => leaver.reset()?,
        }
        let greeted = is_greeted(&mut next, Duration::from_secs(5))?;
        ensure(greeted, || format!("one of four has {how}, and the next is not served"))?;
        served.push(next);
        served.iter_mut().try_for_each(|client| client.echo(b"^hello$"))?;
    }
    let mut eighth = Client::connect(address)?;
    let greeted = is_greeted(&mut eighth, Duration::from_millis(200))?;
    ensure(!greeted, || "three have left, three have come, and then one more".to_owned())?;
    stops(server)?;
    work.keeps(&[Promise::Protocol, Promise::Isolation], &[])
}

const HEARS: Duration = Duration::from_secs(5);

/// A client in the room hears these words, and nothing before them.
fn hears(client: &mut Client, words: &[u8]) -> Result<(), Failure> {
    let excerpt = |bytes: &[u8]| bytes[..bytes.len().min(24)].escape_ascii().to_string();
    client.stream.set_read_timeout(Some(HEARS))?;
    let (mut left, mut buffer) = (words, vec![0; words.len()]);
    while !left.is_empty() {
        match client.stream.read(&mut buffer[..left.len()]) {
            Ok(0) => {
                return Err(Failure("a client that reads is disconnected".to_owned()));
            }
            Ok(length) => {
                let heard = &buffer[..length];
                ensure(left.starts_with(heard), || {
                    format!("`{}` was said, and a client heard `{}`", excerpt(left), excerpt(heard))
                })?;
                left = &left[length..];
            }
            Err(error) if is_timeout(&error) => {
                let words = excerpt(words);
                let text =
                    format!("`{words}` was said, and a client has not heard it in {HEARS:?}");
                return Err(Failure(text));
            }
            Err(error) => return Err(Failure(format!("a client that reads: {error}"))),
        }
    }
    Ok(())
}

/// All of them hear it.
fn all_hear(clients: &mut [Client], words: &[u8]) -> Result<(), Failure> {
    clients.iter_mut().try_for_each(|client| hears(client, words))
}

/// So many bytes of what a client in the room hears.
fn heard(client: &mut Client, length: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; length];
    client.stream.set_read_timeout(Some(HEARS))?;
    match client.stream.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) if is_timeout(&error) => {
            Err(Failure("two spoke at the same time, and not all of it was heard".to_owned()))
        }
        Err(error) => Err(Failure(format!("a client that reads: {error}"))),
    }
}

fn room(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q"])?;
    let address = server.address();
    let mut clients = (0..3).map(|_| Client::greeted(address)).collect::<Result<Vec<_>, _>>()?;
    let open_with_three = server.open_descriptors();
    for speaker in 0..3 {
        let words = format!("^client {speaker} says hello$\n");
        clients[speaker].send(words.as_bytes())?;
        hears(&mut clients[speaker], words.as_bytes())?;
        for (_, other) in clients.iter_mut().enumerate().filter(|(number, _)| *number != speaker) {
            hears(other, words.as_bytes())?;
        }
    }

    // Two at the same time: what each of them says stays in order, and all hear the same.
    const TIMES: usize = 200;
    let mut speakers = Vec::new();
    for (letter, client) in [b'a', b'b'].into_iter().zip(&clients) {
        let mut stream = client.stream.try_clone()?;
        let say = move || (0..TIMES).try_for_each(|_| stream.write_all(&[letter; 50]));
        speakers.push(thread::spawn(say));
    }
    let all = clients
        .iter_mut()
        .map(|client| heard(client, 2 * TIMES * 50))
        .collect::<Result<Vec<_>, _>>()?;
    for speaker in speakers {
        let _ = speaker.join();
    }
    ensure(all[0].iter().filter(|&&byte| byte == b'a').count() == TIMES * 50, || {
        "two spoke at the same time, and what is heard is not what they said".to_owned()
    })?;
    ensure(all[1..].iter().all(|other| *other == all[0]), || {
        "two spoke at the same time, and not all have heard it in the same order".to_owned()
    })?;

    drop(clients.pop());
    clients[0].send(b"one has left")?;
    all_hear(&mut clients, b"one has left")?;
    clients.push(Client::greeted(address)?);
    clients[1].send(b"one has come")?;
    all_hear(&mut clients, b"one has come")?;
    clients.push(Client::greeted(address)?);
    clients.pop().map_or(Ok(()), Client::reset)?;

    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 512;
    let mut deaf = Client::greeted(address)?;
    for number in 0..PIECES {
        let piece: Vec<u8> = (0..PIECE).map(|at| (at + number) as u8).collect();
        clients[number % 3].send(&piece)?;
        all_hear(&mut clients, &piece).map_err(|failure| {
            Failure(format!(
                "a client does not read, and after {} KiB {failure}",
                number * PIECE / 1024
            ))
        })?;
    }
    let started = Instant::now();
    while server.open_descriptors() > open_with_three {
        thread::sleep(Duration::from_millis(20));
        ensure(started.elapsed() < HEARS, || {
            format!(
                "a client did not read what was said, {} MiB of it, and is still connected",
                (PIECES * PIECE) >> 20
            )
        })?;
    }
    deaf.stream.set_read_timeout(Some(HEARS))?;
    let (mut kept, mut buffer) = (0, vec![0; PIECE]);
    loop {
        match deaf.stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => kept += length,
            Err(error) if is_timeout(&error) => {
                return Err(Failure(format!(
                    "a client did not read what was said, {} MiB of it, and is still in the room",
                    (PIECES * PIECE) >> 20
                )));
            }
            Err(_) => break,
        }
    }
    ensure(kept < PIECES * PIECE * 3 / 4, || {
        format!("for a client that did not read {} MiB were kept", kept >> 20)
    })?;
    clients[0].send(b"and the others go on")?;
    all_hear(&mut clients, b"and the others go on")?;
    stops(server)
}

fn try_lock(work: &Work) -> Result<(), Failure> {
    let source = fs::read_to_string(work.folder().join("examples/transfers.rs"))?;
    let limit = Duration::from_secs(12);
    let none: [&str; 0] = [];
    let output = subprocess::run(work.executable(), none, limit)?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let said = printed.lines().next_back().unwrap_or_default();
    ensure(output.status.success(), || format!("it says: {said}"))?;
    let expected = ["200 transfers", "the accounts: 1100 and 900"];
    ensure(expected.iter().all(|part| said.contains(part)), || {
        format!("expected `{}`, and it says: {said}", expected.join(", "))
    })?;
    ensure(source.contains(".try_lock("), || "it does not use try_lock".to_owned())
}

/// The prefork server; its port is the last argument.
fn prefork(work: &Work, arguments: &[&str]) -> Result<Server, Failure> {
    Ok(Server::start(work.executable(), [arguments, &["-q", "--port", "0"]].concat())?)
}

fn reorder(work: &Work) -> Result<(), Failure> {
    const CONNECTIONS: usize = 400;
    let mode = ["--mode", "exclusive", "--workers", "4"];
    let server = prefork(work, &[&mode[..], &["--app", "pid"]].concat())?;
    let mut served_by = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut pid = String::new();
        TcpStream::connect(server.address())?.read_to_string(&mut pid)?;
        served_by.push(pid.trim().to_owned());
        thread::sleep(Duration::from_millis(5));
    }
    stops(server)?;
    let mut by_worker = BTreeMap::new();
    for pid in &served_by {
        *by_worker.entry(pid.as_str()).or_insert(0) += 1;
    }
    let mut shares: Vec<usize> = by_worker.into_values().collect();
    shares.resize(shares.len().max(4), 0);
    ensure(shares.iter().all(|share| (50..=200).contains(share)), || {
        format!("of {CONNECTIONS} connections the four workers got {shares:?}")
    })?;
    let changes = served_by.windows(2).filter(|pair| pair[0] != pair[1]).count();
    ensure(changes < CONNECTIONS / 4, || {
        format!(
            "{changes} times in {CONNECTIONS} connections another worker had its turn: after 16 accepts is enough"
        )
    })?;
    work.keeps(
        &[Promise::Protocol, Promise::Isolation],
        &[&mode[..], &["--app", "echo", "-q", "--port"]].concat(),
    )
}

/// How many connections each worker has accepted so far.
fn accepted(scoreboard: &std::path::Path) -> Result<Vec<u64>, Failure> {
    let bytes = fs::read(scoreboard)?;
    let words =
        bytes.chunks_exact(8).filter_map(|word| word.try_into().ok().map(u64::from_ne_bytes));
    Ok(words.skip(2).step_by(3).collect())
}

fn stand_back(work: &Work) -> Result<(), Failure> {
    let mode = ["--mode", "mutex", "--workers", "4", "--app", "echo"];
    let scoreboard = work.folder().join("scoreboard");
    let file = scoreboard.display().to_string();
    let server = prefork(work, &[&mode[..], &["--scoreboard", &file]].concat())?;
    let mut clients = Vec::new();
    for number in 1..=64 {
        clients.push(Client::greeted(server.address()).map_err(|failure| {
            Failure(format!("{number} clients that stay, and the last is not served: {failure}"))
        })?);
        if number == 40 {
            let shares = accepted(&scoreboard)?;
            ensure(shares.iter().all(|&share| share <= 20), || {
                format!("40 clients have come and stay, and the four workers got {shares:?}")
            })?;
        }
    }
    let shares = accepted(&scoreboard)?;
    ensure(shares.iter().all(|&share| (8..=32).contains(&share)), || {
        format!("64 clients have come and stay, and the four workers got {shares:?}")
    })?;
    clients.iter_mut().try_for_each(|client| client.echo(b"^hello$"))?;
    drop(clients);
    for _ in 0..20 {
        Client::greeted(server.address())?.echo(b"^hello$")?;
    }
    stops(server)?;
    work.keeps(&[Promise::Protocol], &[&mode[..], &["-q", "--port"]].concat())
}

/// Asks for a page.
fn ask(address: SocketAddr, path: &str) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: judge\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    Ok(stream)
}

/// The status and the body of the answer.
fn answer(mut stream: TcpStream) -> Result<(u16, String), Failure> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let _ = stream.shutdown(Shutdown::Both);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    match (status, body) {
        (Some(status), Some(body)) => Ok((status, body)),
        _ => Err(Failure(format!("this is no answer: {text:?}"))),
    }
}

/// The statuses of so many requests that come at once, in order.
fn statuses(address: SocketAddr, requests: usize) -> Result<Vec<u16>, Failure> {
    let asked = (0..requests).map(|_| ask(address, "/")).collect::<Result<Vec<_>, _>>()?;
    let mut statuses = asked
        .into_iter()
        .map(|stream| Ok(answer(stream)?.0))
        .collect::<Result<Vec<_>, Failure>>()?;
    statuses.sort_unstable();
    Ok(statuses)
}

/// What `/status.json` says.
fn status(address: SocketAddr, key: &str) -> Result<u64, Failure> {
    let (_, body) = answer(ask(address, "/status.json")?)?;
    let status: Value = serde_json::from_str(&body).unwrap_or_default();
    let value = status[key].as_u64();
    value.ok_or_else(|| Failure(format!("/status.json does not say `{key}`: {body}")))
}

fn late_jobs(work: &Work) -> Result<(), Failure> {
    let options = ["-q", "--max-workers", "1", "--queue", "2"];
    let server = work
        .start(&[&options[..], &["--work", "1400ms", "--too-late", "2s"]].concat())
        .map_err(|failure| Failure(format!("with --too-late 2s it does not start: {failure}")))?;
    let started = Instant::now();
    let answered = statuses(server.address(), 5)?;
    let took = started.elapsed();
    ensure(answered == [200, 200, 503, 503, 503], || {
        format!("one worker, five jobs of 1.4 s, later than 2 s is too late: answered {answered:?}")
    })?;
    ensure(took < Duration::from_secs(4), || {
        format!("two jobs of 1.4 s and three that came too late took {took:.1?}")
    })?;
    // The worker is free again.
    let answered = statuses(server.address(), 1)?;
    ensure(answered == [200], || format!("afterwards a request is answered with {answered:?}"))?;
    stops(server)?;

    let server = work.start(&[&options[..], &["--work", "200ms"]].concat())?;
    let answered = statuses(server.address(), 5)?;
    ensure(answered == [200; 5], || format!("without --too-late, answered {answered:?}"))?;
    stops(server)
}

fn hire_by_waiting(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q", "--work", "500ms", "--queue", "100", "--max-workers", "4"])?;
    let address = server.address();
    let started = Instant::now();
    let asked = (0..12).map(|_| ask(address, "/")).collect::<Result<Vec<_>, _>>()?;
    let mut workers = status(address, "workers")?;
    while workers < 4 && started.elapsed() < Duration::from_secs(3) {
        thread::sleep(Duration::from_millis(20));
        workers = status(address, "workers")?;
    }
    ensure(workers == 4, || {
        format!(
            "twelve jobs of half a second came three seconds ago, and the workers are {workers}"
        )
    })?;
    for stream in asked {
        let (status, _) = answer(stream)?;
        ensure(status == 200, || format!("one of twelve requests is answered with {status}"))?;
    }
    let took = started.elapsed();
    ensure(took < Duration::from_secs(4), || {
        format!("twelve jobs of half a second took {took:.1?}, with up to four workers")
    })?;
    stops(server)?;

    let server = work.start(&["-q", "--work", "2ms", "--queue", "3", "--max-workers", "4"])?;
    let address = server.address();
    for _ in 0..10 {
        let answered = statuses(address, 4)?;
        ensure(answered == [200; 4], || format!("four at once are answered with {answered:?}"))?;
    }
    let hired = status(address, "hired")?;
    // A loaded machine may need 100 ms for four short jobs once.
    ensure(hired <= 2, || {
        format!("for crowds of four jobs of 2 ms {} workers were hired", hired - 1)
    })?;
    wait_until("nothing is in the queue", || {
        status(address, "queue").is_ok_and(|queue| queue == 0)
    })?;
    stops(server)
}
