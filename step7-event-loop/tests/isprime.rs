//! The prime server, through its binary: the right answers, in order, and what each mode does to other clients.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use subprocess::Server;

fn start(mode: &str) -> Server {
    let binary = check::example("isprime-server").unwrap();
    Server::start(binary, ["0", "-q", "--mode", mode]).unwrap()
}

fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    BufReader::new(stream)
}

fn send(client: &mut BufReader<TcpStream>, text: &str) {
    client.get_mut().write_all(text.as_bytes()).unwrap();
}

fn line(client: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn every_u64_is_answered_rightly() {
    for mode in ["block", "pool"] {
        let server = start(mode);
        let mut client = connect(server.address());
        let numbers = [
            ("0", "composite"),
            ("1", "composite"),
            ("2", "prime"),
            ("3", "prime"),
            ("4", "composite"),
            ("9", "composite"),
            ("25", "composite"),
            ("1000003", "prime"),
            ("4294967295", "composite"),
            ("4294967297", "composite"), // 641 divides it: Fermat was wrong
            ("18446744073709551615", "composite"),
            ("18446744073709551614", "composite"),
        ];
        for (number, expected) in numbers {
            send(&mut client, &format!("{number}\n"));
            assert_eq!(line(&mut client), expected, "{number} in mode {mode}");
        }
    }
}

#[test]
fn several_numbers_split_anywhere_are_answered_in_order() {
    let server = start("pool");
    let mut client = connect(server.address());
    // The first takes longest; the others must not overtake it.
    for piece in ["10000", "0000003", "9\n7\n8", "\r\n 11 \n"] {
        send(&mut client, piece);
        std::thread::sleep(Duration::from_millis(5));
    }
    let answers: Vec<_> = (0..4).map(|_| line(&mut client)).collect();
    assert_eq!(answers, ["prime", "prime", "composite", "prime"]);
}

#[test]
fn a_bad_line_is_an_error_and_the_connection_lives() {
    let server = start("pool");
    let mut client = connect(server.address());
    for bad in ["", "-1", "18446744073709551616", "seven", "7 8"] {
        send(&mut client, &format!("{bad}\n"));
        let answer = line(&mut client);
        assert!(answer.starts_with("error: "), "{bad:?}: {answer}");
    }
    send(&mut client, "7\n");
    assert_eq!(line(&mut client), "prime");
}

#[test]
fn a_line_that_never_ends_is_refused() {
    let server = start("pool");
    let mut client = connect(server.address());
    send(&mut client, &"1".repeat(1000));
    assert_eq!(line(&mut client), "error: the line is too long");
}

#[test]
fn a_client_that_leaves_while_its_number_is_tested_harms_nobody() {
    let server = start("pool");
    for _ in 0..20 {
        let mut client = connect(server.address());
        send(&mut client, "100000007\n100000007\n");
    }
    let mut client = connect(server.address());
    send(&mut client, "7\n");
    assert_eq!(line(&mut client), "prime");
    assert!(server.stop().unwrap().status.success());
}

/// A prime that takes a debug build half a second: the largest below 10^16.
const LARGE: &str = "9999999999999937\n";

/// Asks for the large number, and returns when the server is testing it.
fn ask_for_large(server: &Server) -> BufReader<TcpStream> {
    let mut client = connect(server.address());
    let busy = |since: Option<Duration>| match server.cpu_time().zip(since) {
        Some((now, since)) => now >= since + Duration::from_millis(30),
        None => true, // this system does not say
    };
    let before = server.cpu_time();
    send(&mut client, LARGE);
    check::wait_until("the large number is being tested", || busy(before)).unwrap();
    client
}

fn is_answered(client: &BufReader<TcpStream>) -> bool {
    client.get_ref().set_nonblocking(true).unwrap();
    let answered = client.get_ref().peek(&mut [0]).is_ok();
    client.get_ref().set_nonblocking(false).unwrap();
    answered
}

/// The exhibit: 7 is asked for while a large number is being tested. Only the order of the answers is asserted.
#[test]
fn in_mode_pool_a_small_number_overtakes_a_large_one_and_in_mode_block_it_cannot() {
    for (mode, overtakes) in [("pool", true), ("block", false)] {
        let server = start(mode);
        // On a loaded machine the large one may be done before 7 is asked for: then try again.
        let (mut large, mut small) = (0..10)
            .find_map(|_| {
                let (large, mut small) = (ask_for_large(&server), connect(server.address()));
                send(&mut small, "7\n");
                (!is_answered(&large)).then_some((large, small))
            })
            .expect("the large number takes its time");
        assert_eq!(line(&mut small), "prime");
        assert_eq!(!is_answered(&large), overtakes, "mode {mode}");
        assert_eq!(line(&mut large), "prime");
    }
}

#[test]
fn a_number_in_hand_is_answered_before_the_end() {
    for mode in ["block", "pool"] {
        let server = start(mode);
        let mut client = ask_for_large(&server);
        let started = Instant::now();
        server.signal(Signal::SIGTERM).unwrap();
        // The answer comes, unless it takes longer than the second of grace.
        let answer = line(&mut client);
        assert!(["prime", ""].contains(&answer.as_str()), "{answer}");
        assert!(answer == "prime" || started.elapsed() > Duration::from_secs(1), "{mode}");
        assert!(server.wait(Duration::from_secs(20)).unwrap().status.success());
    }
}
