//! The command line that all stages share.

use std::net::{Ipv6Addr, TcpListener};
use std::process::Output;

use super::lifecycle::ended_well;
use crate::client::{Client, Failure, Outcome, ensure};
use crate::{Case, Promise, Target};

pub(super) const CASES: &[Case] = &[
    case("port-taken", "a taken port is one line on stderr and exit code 1", port_taken),
    case("unknown-option", "an unknown option is a usage error: exit code 2", unknown_option),
    case(
        "port-out-of-range",
        "port 65536, port -1 and port abc are usage errors: exit code 2",
        port_out_of_range,
    ),
    case(
        "unresolvable-host",
        "a host without an address is one line and exit code 1",
        unresolvable_host,
    ),
    case(
        "foreign-address",
        "an address of another machine is one line and exit code 1",
        foreign_address,
    ),
    Case {
        obstacle: may_listen_anywhere,
        ..case(
            "privileged-port",
            "a privileged port without the privilege is one line and exit code 1",
            privileged_port,
        )
    },
    case("help", "--help says how to use it", help),
    Case { obstacle: no_ipv6, ..case("ipv6", "--host ::1 listens on IPv6", ipv6) },
    case("once", "--once ends when the first client has left", once),
    case(
        "quiet",
        "-q logs nothing, -v logs each call; without colours, where there is no terminal",
        quiet_and_verbose,
    ),
];

const fn case(name: &'static str, about: &'static str, run: fn(&Target) -> Outcome) -> Case {
    Case { name, promise: Promise::Arguments, about, needs_process: true, obstacle: || None, run }
}

/// A usage error has words of its own in each library (`error: ...`, `usage: ...`); the exit code is the same in all.
fn expect_usage_error(output: &Output) -> Outcome {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure(output.status.code() == Some(2), || {
        format!("{}, expected exit code 2: {}", output.status, stderr.trim_end())
    })?;
    ensure(!stderr.trim().is_empty(), || "nothing on stderr says what is wrong".to_owned())
}

/// It says what is wrong and does not start. The words and the exit code are this course's: of a server with words of its
/// own, any word and any code but 0 will do.
fn expect_one_line(target: &Target, output: &Output, beginning: &str) -> Outcome {
    let stderr = String::from_utf8_lossy(&output.stderr);
    if let Target::Unannounced(..) = target {
        ensure(!output.status.success(), || "it ended with exit code 0".to_owned())?;
        return ensure(!stderr.trim().is_empty(), || {
            "nothing on stderr says what is wrong".to_owned()
        });
    }
    ensure(output.status.code() == Some(1), || {
        format!("{}, expected exit code 1: {}", output.status, stderr.trim())
    })?;
    ensure(stderr.starts_with(beginning) && stderr.lines().count() == 1, || {
        format!("expected one line {beginning:?}, received {stderr:?}")
    })?;
    ensure(output.stdout.is_empty(), || "it said that it listens".to_owned())
}

fn port_taken(target: &Target) -> Outcome {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?;
    let output = target.run(&address.port().to_string(), &[])?;
    let error = format!("error: cannot listen on {address}: Address already in use\n");
    expect_one_line(target, &output, &error)
}

fn unknown_option(target: &Target) -> Outcome {
    expect_usage_error(&target.run("0", &["--no-such-option"])?)
}

fn port_out_of_range(target: &Target) -> Outcome {
    for port in ["65536", "-1", "abc"] {
        expect_usage_error(&target.run(port, &[])?)
            .map_err(|Failure(text)| Failure(format!("port {port}: {text}")))?;
    }
    Ok(())
}

fn unresolvable_host(target: &Target) -> Outcome {
    let output = target.run("0", &["--host", "no.such.host.invalid"])?;
    expect_one_line(target, &output, "error: cannot resolve no.such.host.invalid: ")
}

fn foreign_address(target: &Target) -> Outcome {
    // TEST-NET-1 (RFC 5737): no machine has this address.
    let output = target.run("0", &["--host", "192.0.2.1"])?;
    expect_one_line(target, &output, "error: cannot listen on 192.0.2.1:0: ")
}

/// Root may. Every user may if the kernel's limit is lower or missing (macOS; ip(7)).
fn may_listen_anywhere() -> Option<&'static str> {
    TcpListener::bind("127.0.0.1:1").is_ok().then_some("this user may listen on any port")
}

fn privileged_port(target: &Target) -> Outcome {
    expect_one_line(target, &target.run("1", &[])?, "error: cannot listen on 127.0.0.1:1: ")
}

fn help(target: &Target) -> Outcome {
    let output = target.run("0", &["--help"])?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    ensure(output.status.success() && stdout.contains("--backlog"), || {
        format!("{}: {stdout}", output.status)
    })
}

fn no_ipv6() -> Option<&'static str> {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err().then_some("this machine has no IPv6")
}

fn ipv6(target: &Target) -> Outcome {
    let server = target.start(&["--host", "::1"])?;
    ensure(server.address().is_ipv6(), || format!("it listens on {}", server.address()))?;
    Client::greeted(server.address())?.echo(b"^hello$")
}

fn once(target: &Target) -> Outcome {
    let server = target.start(&["--once"])?;
    let mut client = Client::greeted(server.address())?;
    client.echo(b"^hello$")?;
    drop(client);
    ended_well(&server.wait(crate::client::patience())?)
}

fn quiet_and_verbose(target: &Target) -> Outcome {
    for (option, expected) in [("-q", false), ("-v", true)] {
        let server = target.start(&[option])?;
        Client::greeted(server.address())?.echo(b"^hello$")?;
        let finished = server.stop()?;
        let (called, returned) = ("Calling recv...", "recv returned 7 bytes");
        let logged = finished.stderr.contains(called) && finished.stderr.contains(returned);
        ensure(logged == expected, || format!("with {option} it logged: {}", finished.stderr))?;
        ensure(expected || finished.stderr.is_empty(), || {
            format!("-q logged: {}", finished.stderr)
        })?;
        ensure(!finished.stderr.contains('\x1b'), || {
            format!("colours in the log: {}", finished.stderr.escape_debug())
        })?;
    }
    Ok(())
}
