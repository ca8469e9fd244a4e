//! The accesses, to servers of a few lines, right ones and wrong ones.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use accesses::{Access, Ramp, Row, Target, ramp, together};
use check::in_process::server;
use serde_json::Value;

/// Reads one request, and answers with what `answer` makes of its first line.
fn answering(answer: impl Fn(&str) -> String + Send + Clone + 'static) -> SocketAddr {
    server(move |mut stream: TcpStream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let Some(Ok(first)) = lines.next() else { return };
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let _ = stream.write_all(answer(&first).as_bytes());
    })
    .unwrap()
}

fn page(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn target(address: SocketAddr) -> Target {
    Target::new("127.0.0.1", address.port(), "/", Duration::from_secs(20))
}

fn all(target: &Target, count: usize) -> Vec<Access> {
    together(target, count, &AtomicBool::new(false), |_| {}).unwrap()
}

fn program(address: SocketAddr, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_accesses"))
        .args(["127.0.0.1", &address.port().to_string()])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn they_come_all_at_once() {
    // The server answers only when all have asked: clients that came one after the other would wait for ever.
    let everybody = Arc::new(Barrier::new(50));
    let address = answering(move |_| {
        everybody.wait();
        page("200 OK", "hello")
    });
    let accesses = all(&target(address), 50);
    assert!(accesses.iter().all(Access::succeeded), "{accesses:?}");
    let mut numbers: Vec<_> = accesses.iter().map(|access| access.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
}

#[test]
fn what_is_asked_for_is_the_page() {
    let address = answering(|line| match line {
        "GET /a?b HTTP/1.1" => page("200 OK", ""),
        _ => page("404 Not Found", ""),
    });
    let target = Target::new("127.0.0.1", address.port(), "/a?b", Duration::from_secs(20));
    assert_eq!(all(&target, 1)[0].status, Some(200));
}

#[test]
fn the_time_is_that_of_the_answer() {
    let address = answering(|_| {
        thread::sleep(Duration::from_millis(50));
        page("200 OK", "")
    });
    assert!(all(&target(address), 1)[0].seconds >= 0.05);
}

#[test]
fn what_is_no_whole_answer_is_a_failure() {
    let answers: [(&str, Option<u16>); 6] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", None),
        ("", None),
        ("hello\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nConte", None),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Some(404)),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", Some(503)),
    ];
    for (answer, status) in answers {
        let accesses = all(&target(answering(|_| answer.to_owned())), 1);
        let access = &accesses[0];
        assert_eq!(access.status, status, "{answer:?}: {access:?}");
        assert_eq!(access.error.is_some(), status.is_none(), "{answer:?}");
        assert!(!access.succeeded());
    }
}

#[test]
fn patience_ends() {
    let address = answering(|_| {
        thread::sleep(Duration::from_secs(60));
        String::new()
    });
    let impatient = Target { timeout: Duration::from_millis(100), ..target(address) };
    let accesses = all(&impatient, 3);
    assert_eq!(accesses.len(), 3);
    assert!(accesses.iter().all(|access| access.error.is_some()));

    // And a run that is told to stop does not wait for it.
    let started = Instant::now();
    let given_up = together(&target(address), 3, &AtomicBool::new(true), |_| {}).unwrap();
    assert!(given_up.is_empty());
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_ramp_never_has_more_users_than_it_says() {
    let (here, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (Arc::clone(&here), Arc::clone(&most));
    let address = answering(move |line| {
        if line.starts_with("GET /status.json ") {
            return page("200 OK", r#"{"workers":3,"queue":4,"outside":5,"busy":2}"#);
        }
        let (here, most) = &counters;
        most.fetch_max(here.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(5));
        here.fetch_sub(1, Ordering::SeqCst);
        page("200 OK", "hello")
    });
    let settings = Ramp {
        from: 1,
        to: 8,
        over: Duration::from_secs(1),
        every: Duration::from_millis(100),
        after: Duration::from_millis(300),
    };
    let seen = AtomicUsize::new(0);
    let rows = ramp(&target(address), &settings, &AtomicBool::new(false), |_| {
        seen.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(rows.len(), seen.into_inner());
    assert!((2..=8).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    assert!(rows.iter().map(|row| row.answered).sum::<usize>() > 10, "{rows:?}");
    assert!(rows.iter().all(|row| row.failed == 0 && row.users <= 8), "{rows:?}");
    // The pool has three workers to the end, so it goes on as long as it may.
    let last: &Row = rows.last().unwrap();
    assert!(last.seconds >= 1.3 && last.users == 0, "{last:?}");
    let pool = last.pool.unwrap();
    assert_eq!((pool.workers, pool.queue, pool.outside), (3, 4, 5));
}

#[test]
fn a_server_without_a_pool_has_rows_without_one() {
    let address = answering(|line| match line {
        "GET / HTTP/1.1" => page("200 OK", ""),
        _ => page("404 Not Found", "no"),
    });
    let settings = Ramp {
        from: 1,
        to: 1,
        over: Duration::from_millis(200),
        every: Duration::from_millis(50),
        after: Duration::from_secs(60),
    };
    let rows = ramp(&target(address), &settings, &AtomicBool::new(false), |_| {});
    assert!(rows.iter().all(|row| row.pool.is_none()));
    assert!(rows.last().unwrap().seconds < 30.0, "there is nothing to wait for");
}

#[test]
fn who_is_not_answered_when_the_ramp_is_over_is_waited_for_and_counted() {
    let asked = Arc::new(AtomicUsize::new(0));
    let address = answering(move |line| {
        if line.starts_with("GET / ") && asked.fetch_add(1, Ordering::SeqCst) >= 5 {
            thread::sleep(Duration::from_secs(60));
        }
        page("200 OK", "hello")
    });
    let settings = Ramp {
        from: 2,
        to: 2,
        over: Duration::from_millis(300),
        every: Duration::from_millis(100),
        after: Duration::from_secs(60),
    };
    let impatient = Target { timeout: Duration::from_secs(2), ..target(address) };
    let rows = ramp(&impatient, &settings, &AtomicBool::new(false), |_| {});
    let answered = rows.iter().map(|row| row.answered).sum::<usize>();
    let failed = rows.iter().map(|row| row.failed).sum::<usize>();
    assert_eq!((answered, failed), (5, 2), "{rows:?}");

    // And a run that is told to stop does not wait for it.
    let started = Instant::now();
    let rows = ramp(&target(address), &settings, &AtomicBool::new(true), |_| {});
    assert_eq!(rows.len(), 1);
    assert!(started.elapsed() < Duration::from_secs(15));

    let output =
        program(address, &["--ramp", "1..1", "--over", "1", "--every", "200ms", "--timeout", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.trim_end().ends_with("0 answered, 0 turned away (503), 1 failed"), "{stdout}");
}

#[test]
fn the_program_says_how_it_went() {
    let address = answering(|_| page("200 OK", "hello"));
    let output = program(address, &["-n", "3"]);
    assert!(output.status.success());
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("access ")).count(), 3, "{stdout}");
    assert!(lines[3].starts_with("3 accesses in ") && lines[3].ends_with(", 0 failed"), "{stdout}");
    assert!(lines[4].starts_with("shortest "), "{stdout}");
    assert_eq!(lines.len(), 5 + 10, "a histogram of ten rows");

    let output = program(address, &["-n", "3", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["failed"], 0);
    assert_eq!(report["accesses"].as_array().unwrap().len(), 3);

    let output = program(address, &["--ramp", "1..3", "--over", "1", "--every", "200ms"]);
    assert!(output.status.success());
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.lines().count() > 4, "{stdout}");
    assert!(stdout.trim_end().ends_with(" answered, 0 turned away (503), 0 failed"), "{stdout}");
}

#[test]
fn the_program_fails_when_an_access_does() {
    let turned_away = answering(|_| page("503 Service Unavailable", ""));
    let output = program(turned_away, &["-n", "2", "-q"]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.trim_end().ends_with("2 failed, 2 of them turned away (503)"), "{stdout}");

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = program(nobody, &[]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("access 1: Connection refused after "), "{stdout}");
}

#[test]
fn a_program_that_is_stopped_prints_what_it_has() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let address = answering(move |_| {
        // The first is answered, the others wait.
        if count.fetch_add(1, Ordering::SeqCst) > 0 {
            thread::sleep(Duration::from_secs(600));
        }
        page("200 OK", "hello")
    });
    let mut program = Command::new(env!("CARGO_BIN_EXE_accesses"))
        .args(["127.0.0.1", &address.port().to_string(), "-n", "3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    let mut text = String::new();
    stdout.read_line(&mut text).unwrap();
    assert!(text.contains(": 200 after "), "{text}");
    let kill = Command::new("kill").args(["-INT", &program.id().to_string()]).status().unwrap();
    assert!(kill.success());
    stdout.read_to_string(&mut text).unwrap();
    let output = program.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "stopped\n");
    assert!(text.contains("3 accesses in ") && text.contains(", 2 given up"), "{text}");
}

#[test]
fn one_access_is_singular() {
    let address = answering(|_| page("200 OK", "hello"));
    let output = program(address, &["--timeout", "20000ms", "-q"]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("1 access in "), "{stdout}");
}

#[test]
fn nonsense_is_a_usage_error() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    for arguments in [
        &["-n", "0"][..],
        &["-n", "many"],
        &["--ramp", "5..1"],
        &["--ramp", "0..5"],
        &["--ramp", "5"],
        &["--over", "5"],
        &["--ramp", "1..2", "-n", "3"],
        &["--timeout", "0"],
        &["--ramp", "1..2", "--every", "5ms"],
        &["--path", "x"],
        &["--path", "/a b"],
    ] {
        let output = program(nobody, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: "), "{arguments:?}");
    }
}
