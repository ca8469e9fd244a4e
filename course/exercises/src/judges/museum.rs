//! The exercises of the museum: servers with a fault of history each. The judges name the symptom, and never the cause.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use check::{Client, Failure, Promise, ensure, wait_until};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use subprocess::Server;

use crate::{Base, Exercise, Program, Work};

pub(super) const EXERCISES: &[Exercise] = &[
    exhibit("museum-1", "step7-event-loop", large_answers),
    exhibit("museum-2", "step2-thread-per-client", vanished),
    exhibit("museum-3", "step7-event-loop", crowd),
    exhibit("museum-4", "step5-select", newcomer),
    exhibit("museum-5", "step7-event-loop", stalled),
    exhibit("museum-6", "step7-event-loop", warm_at_rest),
    exhibit("museum-7", "step2-thread-per-client", eight_at_a_time),
    exhibit("museum-8", "step2-thread-per-client", last_answers),
];

const fn exhibit(
    name: &'static str,
    manifest: &'static str,
    judge: fn(&Work) -> Result<(), Failure>,
) -> Exercise {
    let (base, program) = (Base::Manifest(manifest), Program::Main);
    Exercise { name, base, program, first: false, judge }
}

/// How long a server may take for something that it does at once, or not at all.
const SOON: Duration = Duration::from_secs(4);

/// The time limit of a client that we connect ourselves.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message of so many letters, no two parts of which are alike; and its answer.
fn varied(length: usize) -> (Vec<u8>, Vec<u8>) {
    let mut number = 1_u32;
    let mut letter = || {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + (number >> 24) as u8 % 26
    };
    let mut message = vec![b'^'];
    message.extend((0..length).map(|_| letter()));
    let answer = message[1..].iter().map(|letter| letter + 1).collect();
    message.push(b'$');
    (message, answer)
}

/// Sends `message`, is busy with other things for a moment, and then receives.
fn expect_late(
    client: &mut Client,
    message: &[u8],
    receive: impl FnOnce(&mut Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut sender = Client { stream: client.stream.try_clone()? };
    thread::scope(|scope| {
        // What it cannot send is missed when the answer is received.
        scope.spawn(move || sender.send(message));
        thread::sleep(Duration::from_millis(200));
        receive(client).inspect_err(|_| {
            let _ = client.stream.shutdown(Shutdown::Both); // frees the sender
        })
    })
}

/// Has the server miss all that happens until it is [told to go on](resume).
fn halt(server: &Server) -> Result<(), Failure> {
    server.signal(Signal::SIGSTOP)?;
    if state(server).is_none() {
        thread::sleep(Duration::from_millis(300));
        return Ok(());
    }
    wait_until("the server halts", || state(server) == Some('T'))
}

/// `R` if it runs or could run, `S` if it sleeps, `T` if it is halted: proc_pid_stat(5). `None` where there is no /proc.
fn state(server: &Server) -> Option<char> {
    let text = fs::read_to_string(format!("/proc/{}/stat", server.pid())).ok()?;
    text.rsplit_once(')')?.1.trim_start().chars().next()
}

fn resume(server: &Server) -> Result<(), Failure> {
    Ok(server.signal(Signal::SIGCONT)?)
}

/// Nobody speaks for a second: the server sleeps.
fn rests(server: &Server, when: &str) -> Result<(), Failure> {
    thread::sleep(Duration::from_millis(200)); // it may still have been about something
    // Where there is no /proc, nobody can say.
    let Some(before) = server.cpu_time() else { return Ok(()) };
    const LOOKS: usize = 50;
    let mut awake = 0;
    for _ in 0..LOOKS {
        thread::sleep(Duration::from_millis(20));
        awake += usize::from(state(server) == Some('R'));
    }
    let used = server.cpu_time().unwrap_or_default().saturating_sub(before);
    // On a machine that is busy with other things it may get hardly any CPU time; but it never sleeps.
    ensure(used < Duration::from_millis(50) && awake < LOOKS / 2, || {
        format!("{when}: it used {} ms of CPU time in a second", used.as_millis())
    })
}

/// A client with a small receive buffer and small segments, so that little is on its way at a time. The server hears of both
/// while we connect.
fn on_a_slow_line(address: SocketAddr) -> Result<Client, Failure> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
    setsockopt(&socket, sockopt::RcvBuf, &4096)?;
    #[cfg(target_os = "linux")]
    setsockopt(&socket, sockopt::TcpMaxSeg, &536)?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(Client { stream })
}

fn large_answers(work: &Work) -> Result<(), Failure> {
    const LENGTH: usize = 500_000;
    let (message, answer) = varied(LENGTH);
    let server = work.start(&["-q"])?;
    let mut client = on_a_slow_line(server.address())?;
    client.expect_greeting()?;
    let mut at = 0;
    expect_late(&mut client, &message, |client| {
        for piece in answer.chunks(4096) {
            client.expect(piece)?;
            at += piece.len();
            thread::sleep(Duration::from_millis(2));
        }
        client.echo(b"^and then$")
    })
    .map_err(|Failure(text)| {
        Failure(format!("{LENGTH} bytes over a slow line: after the first {at}: {text}"))
    })?;
    work.keeps(&[Promise::Protocol], &[])
}

fn vanished(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q"])?;
    let mut bystander = Client::greeted(server.address())?;
    for _ in 0..5 {
        let mut client = Client::greeted(server.address())?;
        halt(&server)?;
        client.send(&varied(40_000).0)?;
        drop(client);
        resume(&server)?;
        let unharmed = bystander.echo(b"^hello$").and_then(|()| {
            thread::sleep(Duration::from_millis(100));
            bystander.echo(b"^still here$")
        });
        unharmed.map_err(|Failure(text)| {
            Failure(format!(
                "a client sent 40,000 bytes and left at once; then, to another client: {text}"
            ))
        })?;
    }
    work.keeps(&[Promise::Protocol, Promise::Isolation], &[])
}

fn crowd(work: &Work) -> Result<(), Failure> {
    let server = Server::start_with_descriptors(40, work.executable(), ["0", "-q"])?;
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(Client::connect(server.address())?);
    }
    crowd[0].expect_greeting()?;
    rests(&server, "sixty clients had connected and none spoke")?;
    crowd[0].echo(b"^hello$")?;
    crowd.clear();
    wait_until("a new client is served when the crowd has left", || {
        Client::greeted(server.address()).is_ok_and(|mut client| client.echo(b"^new$").is_ok())
    })?;
    work.keeps(&[Promise::Protocol, Promise::Isolation], &[])
}

fn newcomer(work: &Work) -> Result<(), Failure> {
    for _ in 0..3 {
        let server = work.start(&["-q", "--places", "3"])?;
        let first = Client::greeted(server.address())?;
        let mut others = [Client::greeted(server.address())?, Client::greeted(server.address())?];
        for other in &mut others {
            other.echo(b"^hello$")?;
        }
        halt(&server)?;
        let mut newcomer = Client::connect(server.address())?;
        first.reset()?;
        resume(&server)?;
        newcomer.expect_greeting().and_then(|()| newcomer.echo(b"^I am new$")).map_err(
            |Failure(text)| {
                Failure(format!(
                    "one client left and another came at the same moment; to the one that came: {text}"
                ))
            },
        )?;
        for other in &mut others {
            other.echo(b"^still here$")?;
        }
        // The places are still limited: whoever has been silent for longest has to go.
        let mut last = Client::greeted(server.address())?;
        last.echo(b"^hello$")?;
        newcomer.expect_end(true).map_err(|Failure(text)| {
            Failure(format!("there are three places and four clients: {text}"))
        })?;
    }
    work.keeps(&[Promise::Protocol, Promise::Isolation], &[])
}

fn stalled(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q"])?;
    let mut client = Client::greeted(server.address())?;
    for length in [1_000, 6_000, 20_000] {
        let (message, answer) = varied(length);
        client.send(&message)?;
        let received = receive_within(&mut client, length, SOON)?;
        ensure(received.len() == length, || {
            format!(
                "the client sent a message of {length} bytes and waited: {} of them were answered in {SOON:?}",
                received.len()
            )
        })?;
        ensure(received == answer, || format!("the answer to {length} bytes is wrong"))?;
    }
    work.keeps(&[Promise::Protocol, Promise::Isolation], &[])
}

/// So many bytes, or as many as come in this time.
fn receive_within(client: &mut Client, length: usize, limit: Duration) -> Result<Vec<u8>, Failure> {
    let deadline = Instant::now() + limit;
    let patience = client.stream.read_timeout()?;
    client.stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut received = Vec::new();
    let mut buffer = vec![0; length];
    while received.len() < length && Instant::now() < deadline {
        let room = length - received.len();
        match client.stream.read(&mut buffer[..room]) {
            Ok(0) => break,
            Ok(taken) => received.extend_from_slice(&buffer[..taken]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    client.stream.set_read_timeout(patience)?;
    Ok(received)
}

fn warm_at_rest(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q"])?;
    let mut client = Client::greeted(server.address())?;
    let owed = send_until_full(&mut client)?;
    client.expect(&vec![b'b'; owed])?;
    client.echo(b"$^hello$")?;
    rests(&server, "a client had fetched a large answer and was silent")?;
    client.echo(b"^hello$")?;
    work.keeps(&[Promise::Protocol], &[])
}

/// Opens a message and sends `a` after `a`, and receives nothing, until the server has taken no more for a second; how many
/// are to be answered.
fn send_until_full(client: &mut Client) -> Result<usize, Failure> {
    client.send(b"^")?;
    client.stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    let mut sent = 0;
    while sent < 64 * 1024 * 1024 {
        match client.stream.write(&[b'a'; 64 * 1024]) {
            Ok(taken) => sent += taken,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    client.stream.set_write_timeout(Some(PATIENCE))?;
    Ok(sent)
}

fn eight_at_a_time(work: &Work) -> Result<(), Failure> {
    let server = work.start(&["-q"])?;
    let mut clients = Vec::new();
    for number in 1..=8 {
        let mut client = Client::connect(server.address())?;
        ensure(receive_within(&mut client, 1, SOON)? == b"*", || {
            format!("client {number} was not greeted in {SOON:?}, and those before it are silent")
        })?;
        clients.push(client);
    }
    for client in clients.iter_mut().rev() {
        client.echo(b"^hello$")?;
    }
    // A ninth waits, and is served when one of them leaves.
    let mut ninth = Client::connect(server.address())?;
    let early = receive_within(&mut ninth, 1, Duration::from_millis(300))?;
    ensure(early.is_empty(), || "nine clients are served at a time, by eight threads".to_owned())?;
    clients.pop();
    ninth.expect_greeting()?;
    ninth.echo(b"^hello$")?;
    work.keeps(&[Promise::Protocol, Promise::Isolation], &[])
}

fn last_answers(work: &Work) -> Result<(), Failure> {
    const ALLOWANCE: usize = 1_000_000;
    let server = work.start(&["-q", "--allowance", &ALLOWANCE.to_string()])?;
    let (message, answer) = varied(ALLOWANCE + 100_000);
    let mut client = Client::greeted(server.address())?;
    // The `^` counts too.
    expect_late(&mut client, &message, |client| {
        client.expect(&answer[..ALLOWANCE - 1])?;
        client.expect_end(false)
    })
    .map_err(|Failure(text)| {
        Failure(format!("a client sent more than its allowance, and then received: {text}"))
    })?;
    let mut modest = Client::greeted(server.address())?;
    modest.echo(b"^hello$")?;
    work.keeps(&[Promise::Protocol, Promise::Isolation], &[])
}
