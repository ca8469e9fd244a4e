//! The client against servers that are right, and against servers with typical faults.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use check::in_process;
use check::reports_unwritable_output;
use protocol::Session;
use simple_client::{Options, Report, run};

fn server(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> SocketAddr {
    in_process::server(serve).unwrap()
}

/// Greets, then answers with what `change` makes of the right answer.
fn answering(change: impl Fn(Vec<u8>) -> Vec<u8> + Send + Clone + 'static) -> SocketAddr {
    in_process::answering(move |session, input| change(in_process::right(session, input))).unwrap()
}

fn right() -> SocketAddr {
    answering(|reply| reply)
}

fn client(address: SocketAddr) -> Report {
    let mut options = Options::new("127.0.0.1", address.port()).unwrap();
    options.delay = 0.02;
    options.timeout = Duration::from_millis(300);
    run(&options, |_, _| {})
}

#[track_caller]
fn assert_fails(address: SocketAddr, expected: &str) {
    let started = Instant::now();
    let report = client(address);
    assert_eq!(report.failures(), [format!("conn0: {expected}")]);
    assert!(started.elapsed() < Duration::from_secs(10), "it took {:?}", started.elapsed());
}

#[test]
fn a_right_server_is_right() {
    let mut options = Options::new("127.0.0.1", right().port()).unwrap();
    options.connections = 20;
    options.delay = 0.02;
    let report = run(&options, |_, _| {});
    assert_eq!(report.failures(), [""; 0]);
    assert!(report.elapsed >= options.ideal().as_secs_f64());
    assert!(report.connections.iter().all(|connection| connection.greeted.is_some()));
}

#[test]
fn a_server_of_one_client_at_a_time_is_right_though_pauses_outlast_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.write_all(b"*").unwrap();
            let (mut session, mut buffer) = (Session::new(), [0; 1024]);
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                let reply = in_process::right(&mut session, &buffer[..length]);
                stream.write_all(&reply).unwrap();
            }
        }
    });
    let mut options = Options::new("127.0.0.1", address.port()).unwrap();
    options.connections = 2;
    options.delay = 0.6;
    options.timeout = Duration::from_millis(500);
    assert_eq!(run(&options, |_, _| {}).failures(), [""; 0]);
}

#[test]
fn the_reply_may_come_a_byte_at_a_time() {
    let address = server(|mut stream| {
        stream.write_all(b"*").unwrap();
        let mut session = Session::new();
        let mut buffer = [0; 1];
        while let Ok(1..) = stream.read(&mut buffer) {
            let mut reply = Vec::new();
            session.receive(&buffer, &mut reply);
            let _ = stream.write_all(&reply);
        }
    });
    assert!(client(address).is_right());
}

#[test]
fn a_server_that_closes_before_it_greets() {
    let address = server(drop);
    let failures = client(address).failures();
    // The kernel says reset rather than end if our bytes were still unread.
    assert_eq!(failures, ["conn0: the server closed the connection without a greeting"]);
}

#[test]
fn a_server_that_closes_early() {
    let address = server(|mut stream| {
        stream.write_all(b"*").unwrap();
        let mut buffer = [0; 14];
        stream.read_exact(&mut buffer).unwrap();
        stream.write_all(b"bcd").unwrap();
    });
    let mut options = Options::new("127.0.0.1", address.port()).unwrap();
    // However late the end comes, it must come in the first pause: then more is owed.
    options.delay = 20.0;
    let failures = run(&options, |_, _| {}).failures();
    assert_eq!(failures, ["conn0: the server closed the connection after 3 of 7 bytes"]);
}

#[test]
fn a_server_that_never_greets() {
    let address = server(|mut stream| drop(stream.read(&mut [0; 1])));
    assert_fails(address, "the server did not greet within 0.3 s");
}

#[test]
fn a_server_that_never_answers() {
    let address = answering(|_| Vec::new());
    assert_fails(address, "the server has been silent for 0.3 s after 0 of 18 bytes");
}

#[test]
fn a_server_that_answers_wrongly() {
    let address = answering(|reply| reply.iter().map(|byte| byte - 1).collect());
    assert_fails(address, "wrong reply after 0 bytes: b'abcabte', expected b'bcdbcuf'");
}

#[test]
fn a_server_that_answers_too_much() {
    let address = answering(|mut reply| {
        reply.push(b'!');
        reply
    });
    assert_fails(address, "the server sent b'!' after all 7 bytes of its reply");
}

#[test]
fn a_server_that_greets_wrongly() {
    let address = server(|mut stream| stream.write_all(b"+").unwrap());
    assert_fails(address, "the server greeted with b'+', expected b'*'");
}

#[test]
fn no_server_at_all() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_fails(address, &format!("cannot connect to {address}: Connection refused"));
}

#[test]
fn failures_of_one_kind_are_one_line() {
    let address = server(|mut stream| stream.write_all(b"+").unwrap());
    let mut options = Options::new("127.0.0.1", address.port()).unwrap();
    options.connections = 3;
    let failures = run(&options, |_, _| {}).failures();
    assert_eq!(failures, ["all 3 connections: the server greeted with b'+', expected b'*'"]);
}

fn binary(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simple-client")).args(arguments).output().unwrap()
}

#[test]
fn the_transcript_is_the_courses() {
    let port = right().port().to_string();
    let output = binary(&["127.0.0.1", &port, "--delay", "0.05"]);
    assert!(output.status.success());
    let stdout = String::from_utf8(output.stdout).unwrap();
    let elapsed =
        stdout.strip_prefix("Elapsed: ").and_then(|text| text.trim_end().parse::<f64>().ok());
    assert!(elapsed.is_some_and(|elapsed| elapsed >= 0.11), "{stdout}");

    let stderr = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = stderr
        .lines()
        .map(|line| {
            // INFO:2025-03-26 17:34:15,783:conn0 connected...
            let (time, rest) = line.split_at("INFO:2025-03-26 17:34:15,783:".len());
            let shape: String =
                time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
            assert_eq!(shape, "INFO:9999-99-99 99:99:99,999:", "{line}");
            rest
        })
        .collect();
    let expected = [
        "conn0 connected...",
        "conn0 sending b'^abc$de^abte$f'",
        "conn0 received b'bcdbcuf'",
        "conn0 sending b'xyz^123'",
        "conn0 received b'234'",
        "conn0 sending b'25$^ab0000$abab'",
        "conn0 received b'36bc1111'",
        "conn0 disconnecting",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn json_and_trace_say_when_each_connection_did_what() {
    let port = right().port().to_string();
    let trace = std::env::temp_dir().join(format!("simple-client-{}.json", std::process::id()));
    let path = trace.to_str().unwrap();
    let output =
        binary(&["127.0.0.1", &port, "-n", "2", "--delay", "0", "--json", "--trace", path]);
    assert!(output.status.success());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["connections"].as_array().unwrap().len(), 2);

    let text = std::fs::read_to_string(&trace).unwrap();
    std::fs::remove_file(&trace).unwrap();
    let events: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(events.iter().filter(|event| event["name"] == "pausing").count(), 6);
}

#[test]
fn a_low_limit_of_open_files_is_raised() {
    let command = format!(
        "ulimit -Sn 40; exec '{}' 127.0.0.1 {} -n 60 --delay 0.1 -q",
        env!("CARGO_BIN_EXE_simple-client"),
        right().port()
    );
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn output_that_cannot_be_written_is_an_error_unless_nobody_reads_it() {
    let port = right().port().to_string();
    reports_unwritable_output(|| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_simple-client"));
        command.args(["127.0.0.1", &port, "--json", "--delay", "0", "-q"]);
        command
    })
    .unwrap();
}

#[test]
fn a_failure_is_one_line_and_exit_code_1() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = binary(&["127.0.0.1", &address.port().to_string(), "-n", "5"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let expected =
        format!("error: all 5 connections: cannot connect to {address}: Connection refused\n");
    assert_eq!(stderr, expected);
}

#[test]
fn an_unresolvable_host_is_one_line_and_exit_code_1() {
    let output = binary(&["no.such.host.invalid", "8080"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: cannot resolve no.such.host.invalid: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn bad_arguments_are_a_usage_error() {
    let usages: [&[&str]; 7] = [
        &[],
        &["localhost", "65536"],
        &["localhost", "1", "-n", "0"],
        &["localhost", "1", "--nonsense"],
        &["localhost", "1", "--delay", "101"],
        &["localhost", "1", "--timeout", "0"],
        &["localhost", "1", "--timeout", "1h"],
    ];
    for arguments in usages {
        assert_eq!(binary(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
