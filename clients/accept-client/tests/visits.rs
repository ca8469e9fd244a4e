//! The visits, to servers that treat them well and badly.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use accept_client::{Options, all};
use check::in_process::server;

fn options(address: SocketAddr) -> Options {
    Options {
        addresses: vec![address],
        count: 1,
        concurrent: 1,
        pause: Duration::ZERO,
        timeout: Duration::from_secs(20),
    }
}

/// Answers with what it was told, once it has been told all of it.
fn repeats(mut stream: TcpStream) {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    let _ = stream.write_all(&said);
}

fn client(address: SocketAddr, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_accept-client"))
        .args(["127.0.0.1", &address.port().to_string()])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn each_visit_says_its_message_and_brings_back_the_answer() {
    let address = server(repeats).unwrap();
    let said = Mutex::new(Vec::new());
    let options = Options { count: 30, concurrent: 4, ..options(address) };
    let visits = all(
        &options,
        |number| vec![number as u8],
        |visit| {
            said.lock().unwrap().push(visit.number);
        },
    )
    .unwrap();
    let numbers: Vec<_> = (1..=30).collect();
    assert_eq!(visits.iter().map(|visit| visit.number).collect::<Vec<_>>(), numbers);
    for visit in visits {
        assert_eq!(visit.reply.unwrap(), [visit.number as u8]);
    }
    let mut said = said.into_inner().unwrap();
    said.sort_unstable();
    assert_eq!(said, numbers, "told of each, once");
}

#[test]
fn no_more_of_them_at_a_time_than_asked_for() {
    let here = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let counters = (Arc::clone(&here), Arc::clone(&most));
    let address = server(move |mut stream| {
        let (here, most) = &counters;
        most.fetch_max(here.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(5));
        let _ = stream.read_to_end(&mut Vec::new());
        here.fetch_sub(1, Ordering::SeqCst);
    })
    .unwrap();
    let options = Options { count: 40, concurrent: 3, ..options(address) };
    for visit in all(&options, |_| b"x".to_vec(), |_| {}).unwrap() {
        assert_eq!(visit.reply.unwrap(), b"");
    }
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)), "{most:?}");
}

#[test]
fn the_pause_is_kept() {
    let options =
        Options { count: 4, pause: Duration::from_millis(30), ..options(server(repeats).unwrap()) };
    let started = Instant::now();
    all(&options, |_| Vec::from(*b"x"), |_| {}).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(120));
}

#[test]
fn who_has_nothing_to_say_lets_the_server_speak_first() {
    let address = server(|mut stream| {
        let _ = stream.write_all(b"hello");
    })
    .unwrap();
    let visits = all(&options(address), |_| Vec::new(), |_| {}).unwrap();
    assert_eq!(visits[0].reply.as_ref().unwrap(), b"hello");
}

#[test]
fn of_several_addresses_the_first_that_listens_is_taken() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let somebody = server(repeats).unwrap();
    let options = Options { addresses: vec![nobody, somebody], ..options(somebody) };
    let visits = all(&options, |_| b"x".to_vec(), |_| {}).unwrap();
    assert_eq!(visits[0].reply.as_ref().unwrap(), b"x");
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let address = server(|stream| {
        thread::sleep(Duration::from_secs(60));
        drop(stream);
    })
    .unwrap();
    let options = Options { timeout: Duration::from_millis(100), ..options(address) };
    let visits = all(&options, |_| b"x".to_vec(), |_| {}).unwrap();
    assert_eq!(visits[0].reply.as_ref().unwrap_err().to_string(), "no end within 100ms");

    // But what it has said before is passed on.
    let address = server(|mut stream| {
        let _ = stream.write_all(b"*");
        thread::sleep(Duration::from_secs(60));
    })
    .unwrap();
    let options = Options { timeout: Duration::from_millis(100), ..self::options(address) };
    let visits = all(&options, |_| Vec::new(), |_| {}).unwrap();
    let error = visits[0].reply.as_ref().unwrap_err().to_string();
    assert_eq!(error, "no end within 100ms, after 1 byte: \"*\"");
}

#[test]
fn a_server_that_never_stops_talking_is_given_up() {
    let address = server(|mut stream| while stream.write_all(&[b'x'; 4096]).is_ok() {}).unwrap();
    let visits = all(&options(address), |_| b"x".to_vec(), |_| {}).unwrap();
    let error = visits[0].reply.as_ref().unwrap_err().to_string();
    assert_eq!(error, "the server says more than 1048576 bytes");
}

#[test]
fn the_program_prints_what_comes_back() {
    let address = server(repeats).unwrap();
    let output = client(address, &["hello"]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "hello\n");

    let output = client(address, &["--count", "3"]);
    assert!(output.status.success());
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("msg001\nmsg002\nmsg003\n3 connections, 0 failed, "), "{stdout}");

    let output = client(address, &["--count", "1", "--pause", "1ms", "--timeout", "20s"]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("msg001\n1 connection, 0 failed, "), "{stdout}");
}

#[test]
fn the_program_fails_when_a_visit_does() {
    // Dropped unread: a reset.
    let address = server(|mut stream| {
        let _ = stream.read(&mut [0; 1]);
    })
    .unwrap();
    let output = client(address, &["hello", "--count", "2"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: connection 1: "), "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("2 connections, 2 failed, "), "{stdout}");

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = client(nobody, &["hello"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "error: connection 1: Connection refused\n");
}

#[test]
fn nonsense_is_a_usage_error() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let too_long = &["x", "--pause", "61"];
    for arguments in [&[][..], &["x", "--count", "0"], &["x", "--concurrent", "0"], too_long] {
        assert_eq!(client(nobody, arguments).status.code(), Some(2), "{arguments:?}");
    }
}
