//! The cases against a right server and a family of wrong ones: each fault must be caught by a case that is about it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use check::in_process::{self, right};
use check::{Case, Promise, Target, cases};
use protocol::Session;

fn server(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> SocketAddr {
    in_process::server(serve).unwrap()
}

fn answering(
    answer: impl Fn(&mut Session, &[u8]) -> Vec<u8> + Send + Clone + 'static,
) -> SocketAddr {
    in_process::answering(answer).unwrap()
}

/// The names of the cases that fail, of those that can be run against a server that is there already.
#[track_caller]
fn caught(address: SocketAddr, names: &[&str]) {
    // Longer patience would not help against some of them.
    check::set_patience(Duration::from_secs(6));
    for name in names {
        let case = cases().iter().find(|case| case.name == *name).expect("there is such a case");
        assert!(case.run(&Target::Running(address)).is_err(), "{name} has not caught it");
    }
}

#[test]
fn a_right_server_passes_every_case_that_needs_no_process() {
    let address = answering(right);
    let promises =
        [Promise::Protocol, Promise::Isolation, Promise::Concurrency, Promise::Backpressure];
    let endures = |case: &&Case| case.promise == Promise::Endurance && !case.needs_process;
    let is_promised = |case: &&Case| promises.contains(&case.promise) || endures(case);
    for case in cases().iter().filter(is_promised) {
        if let Err(failure) = case.run(&Target::Running(address)) {
            panic!("{}: {failure}", case.name);
        }
    }
}

#[test]
fn no_greeting_is_caught() {
    let address = server(|stream| drop(stream.shutdown(Shutdown::Write)));
    caught(address, &["greeting", "transcripts"]);
}

#[test]
fn plus_two_is_caught() {
    let address = answering(|session, input| {
        right(session, input).iter().map(|byte| byte.wrapping_add(1)).collect()
    });
    caught(address, &["transcripts", "state", "all-bytes", "random", "16-MiB"]);
}

#[test]
fn saturating_instead_of_wrapping_is_caught() {
    let address = answering(|session, input| {
        let mut reply = right(session, input);
        reply.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = 255);
        reply
    });
    caught(address, &["all-bytes", "byte-by-byte"]);
}

#[test]
fn forgetting_the_state_between_reads_is_caught() {
    let address = answering(|_, input| right(&mut Session::new(), input));
    caught(address, &["state", "byte-by-byte", "long-message"]);
}

#[test]
fn remembering_the_state_of_another_connection_is_caught() {
    let shared = Arc::new(Mutex::new(Session::new()));
    let address = answering(move |_, input| right(&mut shared.lock().unwrap(), input));
    caught(address, &["open-message", "interleaved"]);
}

#[test]
fn answering_the_delimiters_is_caught() {
    let address = answering(|session, input| {
        let mut reply = right(session, input);
        if input.contains(&b'$') {
            reply.push(b'%');
        }
        reply
    });
    caught(address, &["transcripts", "state", "pipelined"]);
}

#[test]
fn closing_on_half_close_with_the_answer_undelivered_is_caught() {
    let address = server(|mut stream| {
        let _ = stream.write_all(b"*");
        let mut input = Vec::new();
        // All the input first, and when it ends, the end.
        let _ = stream.read_to_end(&mut input);
    });
    caught(address, &["half-close", "random"]);
}

/// Reads while it holds less than `bound` bytes of answers, and sends when it can. At the end of the input it leaves at
/// once, or, if it is right, when it has sent what it holds.
fn holding_answers(mut stream: TcpStream, bound: usize, right_at_the_end: bool) {
    let _ = stream.set_nonblocking(true);
    let (mut session, mut outbox, mut ended) = (Session::new(), b"*".to_vec(), false);
    let mut buffer = vec![0; 16 * 1024];
    while !(ended && outbox.is_empty()) {
        if !ended && outbox.len() < bound {
            match stream.read(&mut buffer) {
                Ok(0) if right_at_the_end => ended = true,
                Ok(0) => return,
                Ok(length) => session.receive(&buffer[..length], &mut outbox),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
        if !outbox.is_empty() {
            match stream.write(&outbox) {
                Ok(length) => drop(outbox.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
        thread::yield_now();
    }
}

#[test]
fn throwing_held_answers_away_at_the_end_of_the_input_is_caught() {
    for bound in [64 * 1024, usize::MAX] {
        let address = server(move |stream| holding_answers(stream, bound, true));
        let case = cases().iter().find(|case| case.name == "half-close").unwrap();
        case.run(&Target::Running(address)).unwrap();
        let address = server(move |stream| holding_answers(stream, bound, false));
        // The kernel decides how much it holds, and with a bound that may be nearly all.
        let caught = (0..5).any(|_| case.run(&Target::Running(address)).is_err());
        assert!(caught || cfg!(not(target_os = "linux")), "bound {bound}");
    }
}

#[test]
fn losing_what_a_short_write_did_not_take_is_caught() {
    let address = server(|mut stream| {
        let _ = stream.write_all(b"*");
        let _ = stream.set_nonblocking(true);
        let mut session = Session::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return,
                // One write, and its result is ignored.
                Ok(length) => drop(stream.write(&right(&mut session, &buffer[..length]))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
                Err(_) => return,
            }
        }
    });
    caught(address, &["bounded-output"]);
}

#[test]
fn piling_up_what_is_not_fetched_is_caught() {
    let address = server(|mut stream| {
        let _ = stream.write_all(b"*");
        let (sender, receiver) = std::sync::mpsc::channel::<Vec<u8>>();
        let mut writer = stream.try_clone().unwrap();
        thread::spawn(move || {
            for reply in receiver {
                if writer.write_all(&reply).is_err() {
                    return;
                }
            }
            let _ = writer.shutdown(Shutdown::Write);
        });
        let mut session = Session::new();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let _ = sender.send(right(&mut session, &buffer[..length]));
        }
    });
    caught(address, &["bounded-output"]);
}

#[test]
fn ending_with_one_peers_error_is_caught() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut session = Session::new();
            let mut buffer = [0; 1024];
            let _ = stream.write_all(b"*");
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => drop(stream.write_all(&right(&mut session, &buffer[..length]))),
                    Err(_) => return, // and the listener with it
                }
            }
        }
    });
    caught(address, &["reset-idle"]);
}

#[test]
fn ending_everybody_with_one_peers_reset_is_caught() {
    let everybody = Arc::new(Mutex::new(Vec::new()));
    let address = server(move |mut stream| {
        everybody.lock().unwrap().push(stream.try_clone().unwrap());
        let mut session = Session::new();
        let mut buffer = [0; 1024];
        let mut result = stream.write_all(b"*");
        while result.is_ok() {
            result = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => stream.write_all(&right(&mut session, &buffer[..length])),
                Err(error) => Err(error),
            };
        }
        if result.is_err() {
            everybody
                .lock()
                .unwrap()
                .drain(..)
                .for_each(|peer| drop(peer.shutdown(Shutdown::Both)));
        }
        // The list still holds a copy, so leaving does not close.
        let _ = stream.shutdown(Shutdown::Both);
    });
    caught(address, &["reset-idle", "reset-unread", "reset-at-once"]);
}

#[test]
fn closing_silent_peers_is_caught() {
    let address = server(|mut stream| {
        let _ = stream.set_read_timeout(Some(Duration::from_millis(800)));
        let _ = stream.write_all(b"*");
        let mut session = Session::new();
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let _ = stream.write_all(&right(&mut session, &buffer[..length]));
        }
    });
    caught(address, &["silent-peer"]);
}

#[test]
fn twenty_five_accepts_a_second_are_caught() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let (mut session, mut buffer) = (Session::new(), [0; 1024]);
                let _ = stream.write_all(b"*");
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    let _ = stream.write_all(&right(&mut session, &buffer[..length]));
                }
            });
            thread::sleep(Duration::from_millis(40));
        }
    });
    caught(address, &["2000-connections"]);
}

#[test]
fn the_command_says_which_case_failed_and_exits_with_1() {
    let address =
        answering(|session, input| right(session, input).iter().map(|byte| byte ^ 1).collect());
    let port = address.port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_check"))
        .args([
            "127.0.0.1",
            &port,
            "--only",
            "greeting",
            "--only",
            "transcripts",
            "--only",
            "stats",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let words: Vec<_> =
        stdout.lines().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
    assert_eq!(words[..2], ["ok", "FAILED"], "{stdout}");
    assert!(stdout.contains("byte 0 of 7 is wrong"), "{stdout}");
    let reason = "it starts and stops the server itself, see --cmd: stats";
    assert!(stdout.ends_with(&format!("1 passed, 1 failed, 1 skipped: {reason}\n")), "{stdout}");
}

#[test]
fn bad_usage_is_exit_code_2_and_nobody_there_exit_code_1() {
    let check = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_check")).args(arguments).output().unwrap();
        output.status.code()
    };
    assert_eq!(check(&[]), Some(2));
    assert_eq!(check(&["localhost"]), Some(2));
    assert_eq!(check(&["localhost", "1", "--cmd", "x"]), Some(2));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(check(&["127.0.0.1", &nobody.port().to_string()]), Some(1));
    assert_eq!(check(&["--list", "--only", "no such case"]), Some(1));
}

#[test]
fn that_nobody_reads_the_output_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_check"))
        .arg("--list")
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
