//! SIGTERM and SIGINT end it, and nobody loses what was on its way.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use protocol::reference::reply_to;
use subprocess::Finished;

use super::isolation::send_without_reading;
use crate::client::{Client, Failure, Outcome, ensure};
use crate::process::Process;
use crate::talkers::{Talker, read_all, talkers};
use crate::{Case, Promise, Target};

pub(super) const CASES: &[Case] = &[
    case("sigterm", "SIGTERM ends an idle server with exit code 0", |t| idle(t, Signal::SIGTERM)),
    case("sigint", "SIGINT ends an idle server with exit code 0", |t| idle(t, Signal::SIGINT)),
    case(
        "sigterm-with-peers",
        "SIGTERM ends it while peers are connected and say nothing",
        with_peers,
    ),
    case("sigterm-unread", "SIGTERM ends it while a peer does not fetch its answer", unread),
    case("sigterm-owed", "SIGTERM does not throw away what is on its way to a peer", owed),
    case(
        "sigterm-talking",
        "SIGTERM throws nothing away though peers go on sending: each gets its answers, in order, and then the end",
        talking,
    ),
    case(
        "sigterm-deaf",
        "SIGTERM while one peer reads nothing at all costs a second, and the others no byte",
        deaf,
    ),
    case("sigterm-silent", "SIGTERM with 100 silent peers ends it without that second", silent),
    case("sigterm-restart", "after it has ended its port can be listened on at once", restart),
];

const fn case(name: &'static str, about: &'static str, run: fn(&Target) -> Outcome) -> Case {
    Case { name, promise: Promise::Lifecycle, about, needs_process: true, obstacle: || None, run }
}

/// It has ended as it should.
pub(super) fn ended_well(finished: &Finished) -> Outcome {
    ensure(finished.status.success(), || {
        let said = finished.last_output();
        let said = if said.is_empty() { said } else { format!("; it said last: {said}") };
        format!("it ended with {}{said}", finished.status)
    })
}

fn stop(server: Process, signal: Signal) -> Outcome {
    server.signal(signal)?;
    ended_well(&server.wait(Duration::from_secs(10))?)
}

fn idle(target: &Target, signal: Signal) -> Outcome {
    stop(target.start(&[])?, signal)?;
    // And a server that has had something to do.
    let server = target.start(&[])?;
    let mut client = Client::greeted(server.address())?;
    client.echo(b"^hello$")?;
    client.half_close()?;
    client.expect_end(false)?;
    stop(server, signal)
}

fn with_peers(target: &Target) -> Outcome {
    let server = target.start(&[])?;
    let mut first = Client::greeted(server.address())?;
    first.echo(b"^open")?;
    let _others = [Client::connect(server.address())?, Client::connect(server.address())?];
    stop(server, Signal::SIGTERM)?;
    first.expect_end(true)
}

fn unread(target: &Target) -> Outcome {
    let server = target.start(&[])?;
    let mut client = Client::greeted(server.address())?;
    send_without_reading(&mut client, 64 * 1024 * 1024)?;
    stop(server, Signal::SIGTERM)
}

/// The peer fills both sides' buffers; then SIGTERM comes, then the peer reads. What the server has sent by then must
/// come: a server that closes with input unread resets the connection, and the kernel throws away what it has not sent
/// yet. (Where the kernel does not say how much that is, more must come than has arrived before.)
fn owed(target: &Target) -> Outcome {
    let server = target.start(&[])?;
    let mut client = Client::greeted(server.address())?;
    client.send(b"^hello$")?;
    client.expect(&reply_to(b"^hello$"))?;
    let sent = send_without_reading(&mut client, 64 * 1024 * 1024)?;
    let owed = match client.queues() {
        Some(queues) => queues.unread + queues.server_unacknowledged,
        None => unread_bytes(&client)? + 1,
    };
    server.signal(Signal::SIGTERM)?;
    // We must see that the server goes on: it must have the time to notice that we read.
    thread::sleep(Duration::from_millis(50));
    let mut received = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match client.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let right = buffer[..length].iter().all(|&byte| byte == b'b');
                ensure(right, || {
                    format!("a wrong byte among {received} to {}", received + length)
                })?;
                received += length;
            }
            // It closed with our bytes unread: that is an RST. What was on its way has come by then.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error.into()),
        }
    }
    ensure(received <= sent, || format!("{received} bytes for {sent}"))?;
    ensure(received >= owed, || {
        format!("{received} bytes have come, and {owed} were on their way before SIGTERM")
    })?;
    ended_well(&server.wait(Duration::from_secs(10))?)
}

fn talking(target: &Target) -> Outcome {
    within_the_grace_period(|| {
        let server = target.start(&[])?;
        let talkers = talkers(server.address(), 8)?;
        ensure(!talkers.is_empty(), || "no peer was greeted".to_owned())?;
        stopped_while_they_talk(server, talkers).map(|_| ())
    })
}

fn deaf(target: &Target) -> Outcome {
    within_the_grace_period(|| {
        let server = target.start(&[])?;
        let mut deaf = Client::greeted(server.address())?;
        send_without_reading(&mut deaf, 64 * 1024 * 1024)?;
        // A sequential server is busy with the deaf one, and greets none of these.
        let talkers = talkers(server.address(), 8)?;
        stopped_while_they_talk(server, talkers).map(|_| ())
    })
}

/// Tells the server to stop; returns how many bytes its talking peers got, and how it ended.
pub(super) fn stopped_while_they_talk(
    server: Process,
    talkers: Vec<Talker>,
) -> Result<(usize, Finished), Failure> {
    server.signal(Signal::SIGTERM)?;
    let received = read_all(talkers)?;
    let finished = server.wait(Duration::from_secs(10))?;
    ended_well(&finished)?;
    Ok((received, finished))
}

/// A server promises to wait a second for its peers. On a loaded machine these may take longer. Then the case tries
/// again, a few times.
pub(super) fn within_the_grace_period(attempt: impl Fn() -> Outcome) -> Outcome {
    let mut attempts = 3;
    loop {
        let started = Instant::now();
        let outcome = attempt();
        attempts -= 1;
        if outcome.is_ok() || attempts == 0 || started.elapsed() < Duration::from_secs(1) {
            return outcome;
        }
    }
}

/// A server that waits for its silent peers takes a second each time; a machine may be slow once or twice.
fn silent(target: &Target) -> Outcome {
    const AT_ONCE: Duration = Duration::from_millis(700);
    let mut took = Duration::MAX;
    for _ in 0..3 {
        let server = target.start(&[])?;
        let peers = (0..100).map(|_| Client::connect(server.address()));
        let peers = Client::greeted_within(AT_ONCE, peers.collect::<Result<_, _>>()?)?;
        ensure(!peers.is_empty(), || "no peer was greeted".to_owned())?;
        let started = Instant::now();
        stop(server, Signal::SIGTERM)?;
        took = took.min(started.elapsed());
        if took < AT_ONCE {
            return Ok(());
        }
    }
    Err(Failure(format!("it took {took:.1?} to end, and its peers were owed nothing")))
}

/// How many bytes wait in our receive buffer: FIONREAD.
fn unread_bytes(client: &Client) -> Result<usize, crate::Failure> {
    // A peek of everything that is there.
    let mut buffer = vec![0; 16 * 1024 * 1024];
    Ok(client.stream.peek(&mut buffer)?)
}

fn restart(target: &Target) -> Outcome {
    let server = target.start(&[])?;
    let address = server.address();
    let mut client = Client::greeted(address)?;
    client.echo(b"^hello$")?;
    // The server closes first, so the connection's TIME_WAIT is on its side and holds the port.
    stop(server, Signal::SIGTERM)?;
    client.expect_end(true)?;
    drop(client);
    let server = target.start_on(address)?;
    Client::greeted(server.address())?.echo(b"^again$")
}
