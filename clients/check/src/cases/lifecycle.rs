//! It starts, fails to start and stops as it should.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use protocol::reference::reply_to;

use super::isolation::send_without_reading;
use crate::client::{Client, Outcome, ensure};
use crate::{Case, Promise, Target};
use subprocess::{Finished, Server};

pub(super) const CASES: &[Case] = &[
    case("port-taken", "a taken port is one line on stderr and exit code 1", port_taken),
    case("sigterm", "SIGTERM ends an idle server with exit code 0", |t| idle(t, Signal::SIGTERM)),
    case("sigint", "so does SIGINT", |t| idle(t, Signal::SIGINT)),
    case(
        "sigterm-with-peers",
        "SIGTERM ends it while peers are connected and say nothing",
        with_peers,
    ),
    case("sigterm-unread", "SIGTERM ends it while a peer does not fetch its answer", unread),
    case("sigterm-owed", "SIGTERM does not throw away what is on its way to a peer", owed),
    case("sigterm-restart", "after it has ended its port can be listened on at once", restart),
];

const fn case(name: &'static str, about: &'static str, run: fn(&Target) -> Outcome) -> Case {
    Case { name, promise: Promise::Lifecycle, about, needs_process: true, obstacle: || None, run }
}

fn port_taken(target: &Target) -> Outcome {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?;
    let output = target.run(&address.port().to_string(), &[])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure(output.status.code() == Some(1), || format!("exit {}, expected 1", output.status))?;
    let expected = format!("error: cannot listen on {address}: Address already in use\n");
    ensure(stderr == expected, || format!("expected {expected:?}, received {stderr:?}"))
}

/// It has ended as it should.
fn ended_well(finished: &Finished) -> Outcome {
    ensure(finished.status.success(), || {
        format!("it ended with {}: {}", finished.status, finished.stderr.trim_end())
    })
}

fn stop(server: Server, signal: Signal) -> Outcome {
    server.signal(signal)?;
    ended_well(&server.wait(Duration::from_secs(10))?)
}

fn idle(target: &Target, signal: Signal) -> Outcome {
    stop(target.start(&[])?, signal)?;
    // And one that has had something to do.
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

/// The peer fills both sides' buffers; then SIGTERM comes, then the peer reads. More must come than has arrived before: a
/// server that closes with input unread resets the connection, and the kernel throws away what it was still to send.
/// Whether the server also delivers what it has not yet handed to the kernel cannot be told from outside.
fn owed(target: &Target) -> Outcome {
    let server = target.start(&[])?;
    let mut client = Client::greeted(server.address())?;
    client.send(b"^hello$")?;
    client.expect(&reply_to(b"^hello$"))?;
    let sent = send_without_reading(&mut client, 64 * 1024 * 1024)?;
    let buffered = unread_bytes(&client)?;
    server.signal(Signal::SIGTERM)?;
    // The server must be heard to go on: it may not leave before it has had the time to notice that we read.
    thread::sleep(Duration::from_millis(50));
    let mut received = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        use std::io::Read;
        match client.stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let right = buffer[..length].iter().all(|&byte| byte == b'b');
                ensure(right, || {
                    format!("a wrong byte among {received} to {}", received + length)
                })?;
                received += length;
            }
            // It closed with bytes of ours unread: that is an RST. What was on its way has come by then.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error.into()),
        }
    }
    ensure(received <= sent, || format!("{received} bytes for {sent}"))?;
    ensure(received > buffered, || {
        format!(
            "{buffered} bytes had arrived before SIGTERM, and {received} in all: nothing was owed or it was dropped"
        )
    })?;
    ended_well(&server.wait(Duration::from_secs(10))?)
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
