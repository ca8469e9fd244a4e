//! The load against a right server, and against servers whose faults it must notice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use check::in_process;
use load::{Options, run};

fn server(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> SocketAddr {
    in_process::server(serve).unwrap()
}

/// Answers what `change` makes of the right answer.
fn answering(change: impl Fn(Vec<u8>) -> Vec<u8> + Send + Clone + 'static) -> SocketAddr {
    in_process::answering(move |session, input| change(in_process::right(session, input))).unwrap()
}

fn right() -> SocketAddr {
    answering(|reply| reply)
}

fn options(address: SocketAddr) -> Options {
    Options {
        address,
        connections: 5,
        idle: 0,
        size: 64,
        duration: Duration::from_millis(300),
        rate: None,
        timeout: Duration::from_secs(10),
    }
}

#[test]
fn a_right_server_has_no_errors() {
    let report = run(&Options { idle: 20, ..options(right()) }).unwrap();
    assert_eq!(report.errors, [""; 0]);
    assert!(report.messages >= 5, "each connection has sent at least one: {report:?}");
    assert!(report.latency.p50 > 0.0 && report.latency.p50 <= report.latency.max);
}

#[test]
fn a_large_message_goes_in_pieces_both_ways() {
    let report = run(&Options { connections: 2, size: 5_000_000, ..options(right()) }).unwrap();
    assert_eq!(report.errors, [""; 0]);
    assert!(report.messages >= 2);
}

#[test]
fn a_rate_is_kept_and_not_exceeded() {
    let options =
        Options { rate: Some(100.0), duration: Duration::from_secs(1), ..options(right()) };
    let report = run(&options).unwrap();
    // As many as are due in that time, however late they may be sent.
    assert!((50..=105).contains(&report.messages), "{} messages", report.messages);
}

#[test]
fn a_server_that_stalls_is_late_for_every_message_that_was_due_meanwhile() {
    // 100 ms for each answer, and a message due every 20 ms: the second is late by 80 ms before it is sent.
    let address = answering(|reply| {
        thread::sleep(Duration::from_millis(100));
        reply
    });
    let options = Options {
        connections: 1,
        rate: Some(50.0),
        duration: Duration::from_millis(600),
        ..options(address)
    };
    let report = run(&options).unwrap();
    assert!(report.latency.max > 300_000.0, "the last one counts from when it was due: {report:?}");
}

#[test]
fn a_wrong_byte_is_an_error() {
    let address = answering(|mut reply| {
        reply[0] ^= 1;
        reply
    });
    let report = run(&options(address)).unwrap();
    assert_eq!(report.errors.len(), 5, "one for each connection: {:?}", report.errors);
    assert!(report.errors[0].contains("wrong answer"));
}

#[test]
fn a_server_that_closes_is_an_error() {
    let address = server(|mut stream| {
        let _ = stream.write_all(b"*");
        let _ = stream.read(&mut [0; 1024]);
    });
    assert_eq!(run(&options(address)).unwrap().errors.len(), 5);
}

#[test]
fn a_server_that_falls_silent_is_an_error_and_no_hang() {
    let address = answering(|_| Vec::new());
    let report = run(&Options { timeout: Duration::from_millis(300), ..options(address) }).unwrap();
    assert_eq!(report.errors, ["no answer for 300ms"]);
}

#[test]
fn a_server_that_does_not_greet_is_an_error_and_no_hang() {
    let address = server(|mut stream| drop(stream.read(&mut [0; 1])));
    let error =
        run(&Options { timeout: Duration::from_millis(300), ..options(address) }).unwrap_err();
    assert!(error.to_string().contains("0 of 5"), "{error}");
}

fn binary(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_load")).args(arguments).output().unwrap()
}

#[test]
fn the_command_prints_text_or_json() {
    let port = right().port().to_string();
    let output = binary(&["127.0.0.1", &port, "-c", "3", "--duration", "1"]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("0 errors"));
    let output = binary(&["127.0.0.1", &port, "-c", "3", "--duration", "1", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["messages"].as_u64() >= Some(3), "{report}");
}

#[test]
fn nobody_there_is_exit_code_1_and_bad_usage_2() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let output = binary(&["127.0.0.1", &nobody]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1);
    assert_eq!(binary(&["127.0.0.1", &nobody, "-c", "0"]).status.code(), Some(2));
    assert_eq!(binary(&["127.0.0.1"]).status.code(), Some(2));
}
