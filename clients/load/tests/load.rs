//! The load against a right server, and against servers whose faults it must notice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use check::in_process;
use check::reports_unwritable_output;
use load::attack::{Attack, Endured, Kind, attack};
use load::{Options, run, run_counted, run_visits};
use protocol::Session;
use subprocess::Terminal;

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
fn the_reported_rate_is_the_one_asked_for() {
    let duration = Duration::from_secs(1);
    let options = Options { connections: 1, rate: Some(5.0), duration, ..options(right()) };
    let report = run(&options).unwrap();
    // The fifth is sent after 0.8 s.
    assert!(report.messages == 5 && report.seconds >= 1.0, "{report:?}");
    assert!(report.messages_per_second <= 5.0, "{report:?}");

    let duration = Duration::from_secs(60);
    let report = run_counted(&Options { duration, ..options.clone() }, 2, &mut |_| true).unwrap();
    assert!(report.seconds < 60.0, "messages ran out: {report:?}");

    // It is stopped: what is due later is not late.
    let report =
        run_counted(&Options { duration, ..options }, u64::MAX, &mut |messages| messages < 2);
    let report = report.unwrap();
    assert!(report.seconds < 60.0 && report.unsent <= 1, "{report:?}");
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
    // Of 30 that are due none is left out, and the last is answered 3 s after the start, 2.4 s after it was due.
    assert_eq!((report.messages, report.unsent), (30, 0), "{report:?}");
    assert!(report.latency.max > 2_000_000.0, "{report:?}");
    assert!(report.latency.p50 > 800_000.0, "{report:?}");
}

#[test]
fn what_was_due_and_never_sent_is_counted() {
    let address = answering(|reply| {
        thread::sleep(Duration::from_millis(100));
        reply
    });
    let options = Options {
        connections: 1,
        rate: Some(200.0),
        duration: Duration::from_millis(500),
        timeout: Duration::from_millis(1500),
        ..options(address)
    };
    let report = run(&options).unwrap();
    // 100 are due; in the two seconds that it has, the server manages 20 at the most.
    assert_eq!(report.messages + report.unsent, 100, "{report:?}");
    assert!(report.messages <= 21, "{report:?}");
}

#[test]
fn so_many_messages_and_no_more() {
    let options = Options { duration: Duration::from_secs(60), ..options(right()) };
    for messages in [1, 4, 1001] {
        let report = run_counted(&options, messages, &mut |_| true).unwrap();
        assert_eq!((report.messages, report.errors.len()), (messages, 0));
    }
}

#[test]
fn each_visit_is_a_connection_of_its_own() {
    let served = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&served);
    let address = server(move |mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = stream.write_all(b"*");
        let (mut session, mut buffer, mut reply) = (Session::new(), [0; 1024], Vec::new());
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            session.receive(&buffer[..length], &mut reply);
            let _ = stream.write_all(&reply);
            reply.clear();
        }
    });
    // The port is new to this server only: connections to an earlier one may be in TIME_WAIT still.
    let earlier = if cfg!(target_os = "linux") { waiting_ports(address.port()) } else { 0 };
    let options = Options { idle: 3, duration: Duration::from_secs(60), ..options(address) };
    let report = run_visits(&options, 500, &mut |_| true).unwrap();
    assert_eq!((report.messages, report.errors.len()), (500, 0), "{report:?}");
    assert_eq!(served.load(Ordering::SeqCst), 503, "500 visits and 3 idle ones");
    if cfg!(target_os = "linux") {
        let waiting = waiting_ports(address.port());
        // Visits that ended with a FIN would have left 500.
        assert!(
            waiting <= earlier + 3,
            "{waiting} in TIME_WAIT, {earlier} of them before: more than the idle ones, which end with a FIN"
        );
    }
}

/// How many connections to this port are in TIME_WAIT: proc_net_tcp(5), state 06.
fn waiting_ports(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!(":{port:04X}");
    let waits = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields[2].ends_with(&remote) && fields[3] == "06"
    };
    table.lines().skip(1).filter(waits).count()
}

#[test]
fn a_visit_that_begins_just_before_the_end_is_finished() {
    let address = right();
    for round in 0..400 {
        // Ends at another moment each time, most of them between two steps of something.
        let duration = Duration::from_micros(1000 + round * 7);
        let timeout = Duration::from_secs(10);
        let report =
            run_visits(&Options { duration, timeout, ..options(address) }, u64::MAX, &mut |_| true);
        assert_eq!(report.unwrap().errors, [""; 0], "round {round}");
    }
}

#[test]
fn visits_to_wrong_servers_are_errors_and_no_hang() {
    let wrong = answering(|mut reply| {
        reply[0] ^= 1;
        reply
    });
    let report = run_visits(&options(wrong), u64::MAX, &mut |_| true).unwrap();
    assert_eq!((report.messages, report.errors.len()), (0, 5), "{report:?}");
    assert!(report.errors[0].contains("wrong answer"), "{report:?}");

    let ungreeted = server(drop);
    assert_eq!(run_visits(&options(ungreeted), u64::MAX, &mut |_| true).unwrap().errors.len(), 5);

    let silent = answering(|_| Vec::new());
    let options = Options { timeout: Duration::from_millis(300), ..options(silent) };
    assert_eq!(
        run_visits(&options, u64::MAX, &mut |_| true).unwrap().errors,
        ["no answer for 300ms"]
    );
}

#[test]
fn stopped_and_continued_it_goes_on() {
    let port = right().port().to_string();
    // Slow enough to be asleep in the poller when the signal comes.
    let mut load = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["127.0.0.1", &port, "-c", "1", "--rate", "5", "--duration", "2"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for signal in ["-STOP", "-CONT", "-STOP", "-CONT"] {
        thread::sleep(Duration::from_millis(200));
        let kill = Command::new("kill").args([signal, &load.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }
    assert!(load.wait().unwrap().success());
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
fn an_idle_connection_that_the_server_closes_is_an_error() {
    // The idle ones come first: all of them are greeted before the first visit.
    let (accepted, closed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let address = server(move |mut stream| {
        let is_idle = accepted.fetch_add(1, Ordering::SeqCst) < 3;
        while !is_idle && closed.load(Ordering::SeqCst) < 3 {
            thread::sleep(Duration::from_millis(1));
        }
        let _ = stream.write_all(b"*");
        if is_idle {
            drop(stream);
            closed.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let _ = stream.write_all(&in_process::right(&mut Session::new(), &buffer[..length]));
        }
    });
    let options = Options { idle: 3, duration: Duration::from_secs(60), ..options(address) };
    let report = run_visits(&options, 10, &mut |_| true).unwrap();
    assert_eq!(report.messages, 10, "{report:?}");
    let expected = |number| format!("idle connection {number}: the server closed it");
    assert_eq!(report.errors, [0, 1, 2].map(expected));
}

#[test]
fn a_byte_for_an_idle_connection_is_an_error() {
    let address = server(|mut stream| {
        let _ = stream.write_all(b"*!");
        let _ = stream.read(&mut [0; 1024]);
    });
    let report = run(&Options { connections: 0, idle: 2, ..options(address) }).unwrap();
    let expected = |number| format!("idle connection {number}: an answer to no message");
    assert_eq!(report.errors, [0, 1].map(expected));
}

#[test]
fn a_server_that_falls_silent_is_an_error_and_no_hang() {
    let address = answering(|_| Vec::new());
    let report = run(&Options { timeout: Duration::from_millis(300), ..options(address) }).unwrap();
    assert_eq!(report.errors, ["no answer for 300ms"]);
    assert_eq!((report.seconds, report.messages_per_second), (0.0, 0.0));
}

#[test]
fn to_wait_in_vain_for_one_connection_takes_nothing_from_the_throughput() {
    let served = Arc::new(AtomicU64::new(0));
    let address = answering(move |reply| {
        let is_first = served.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first { Vec::new() } else { reply }
    });
    let timeout = Duration::from_secs(2);
    let options = Options { connections: 2, timeout, ..options(address) };
    let started = Instant::now();
    let report = run(&options).unwrap();
    assert_eq!(report.errors, ["no answer for 2s"]);
    let without_the_wait = (started.elapsed() - timeout).as_secs_f64();
    assert!(report.seconds > 0.0 && report.seconds < without_the_wait, "{report:?}");
}

#[test]
fn a_server_that_does_not_greet_is_an_error_and_no_hang() {
    let address = server(|mut stream| drop(stream.read(&mut [0; 1])));
    let error =
        run(&Options { timeout: Duration::from_millis(300), ..options(address) }).unwrap_err();
    assert!(error.to_string().contains("0 of 5"), "{error}");
}

fn attacked(address: SocketAddr, kind: Kind) -> Endured {
    let plan = Attack { address, clients: 40, kind, duration: Duration::from_millis(2500) };
    attack(&plan, &AtomicBool::new(false)).unwrap()
}

#[test]
fn a_server_without_limits_keeps_its_attackers() {
    for kind in [Kind::Silent, Kind::Slow] {
        let endured = attacked(right(), kind);
        assert_eq!(endured, Endured { greeted: 40, refused: 0, ended: 0, open: 40 });
    }
}

#[test]
fn silent_attackers_say_nothing_and_slow_ones_a_byte_a_second() {
    for (kind, expected) in [(Kind::Silent, 0..=0), (Kind::Slow, 40..=160)] {
        let received = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&received);
        attacked(
            server(move |mut stream| {
                let mut byte = [0];
                while let Ok(1) = stream.read(&mut byte) {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }),
            kind,
        );
        let received = received.load(Ordering::SeqCst);
        assert!(expected.contains(&received), "{kind:?}: {received} bytes");
    }
}

#[test]
fn attackers_that_are_refused_or_ended_are_counted_as_such() {
    let refused = attacked(server(drop), Kind::Silent);
    assert_eq!(refused, Endured { greeted: 0, refused: 40, ended: 0, open: 0 });
    let ended = attacked(server(|mut stream| stream.write_all(b"*").unwrap()), Kind::Silent);
    assert_eq!(ended, Endured { greeted: 40, refused: 0, ended: 40, open: 0 });
}

#[test]
fn the_command_attacks() {
    let port = right().port().to_string();
    let output = binary(&["localhost", &port, "--silent", "-c", "3", "--duration", "1"]);
    assert!(output.status.success());
    let stdout = String::from_utf8_lossy(&output.stdout);
    let expected =
        "3 clients for 1 s: 3 greeted, 0 refused, 0 ended by the server, 3 still connected\n";
    assert_eq!(stdout, expected);
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
    let output = binary(&["127.0.0.1", &port, "--connect", "--messages", "20", "-c", "3"]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("20 connections in"));
    let output = binary(&["127.0.0.1", &port, "--messages", "1", "-c", "1", "--timeout", "20s"]);
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("1 message in"));
}

#[test]
fn a_duration_may_have_a_unit() {
    let port = right().port().to_string();
    for (duration, said) in [("300ms", "0.3 s"), ("1s", "1 s"), ("0.5", "0.5 s")] {
        let output = binary(&["127.0.0.1", &port, "--silent", "-c", "1", "--duration", duration]);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(stdout.starts_with(&format!("1 client for {said}: 1 greeted")), "{stdout}");
    }
    for duration in ["0", "5m", "1h", "601", "-1", "many"] {
        let output = binary(&["127.0.0.1", &port, "--duration", duration]);
        assert_eq!(output.status.code(), Some(2), "{duration}");
    }
}

/// A load that is told to stop once `begun` says so: its exit code, its output, and its log.
fn stopped(arguments: &[&str], begun: impl Fn() -> bool) -> (Option<i32>, String, String) {
    let load = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !begun() {
        assert!(Instant::now() < deadline, "it does not begin");
        thread::sleep(Duration::from_millis(10));
    }
    let kill = Command::new("kill").args(["-INT", &load.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = load.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn stopped_it_reports_what_it_has_measured() {
    for option in ["--idle=2", "--rate=100", "--connect"] {
        let answered = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&answered);
        let port = answering(move |reply| {
            count.fetch_add(1, Ordering::SeqCst);
            reply
        });
        let port = port.port().to_string();
        let arguments = ["127.0.0.1", &port, "-c", "2", "--duration", "600", "--json", option];
        let (code, stdout, stderr) = stopped(&arguments, || answered.load(Ordering::SeqCst) > 50);
        assert_eq!((code, stderr.as_str()), (Some(130), "stopped\n"), "{option}");
        let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert!(report["messages"].as_u64() > Some(40), "{option}: {report}");
        assert!(report["seconds"].as_f64() < Some(599.0), "{option}: {report}");
    }
}

#[test]
fn a_stopped_attack_says_what_it_did_too() {
    let accepted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&accepted);
    let address = server(move |mut stream| {
        let _ = stream.write_all(b"*");
        count.fetch_add(1, Ordering::SeqCst);
        let _ = stream.read(&mut [0]);
    });
    let port = address.port().to_string();
    let arguments = ["127.0.0.1", &port, "--silent", "-c", "3", "--duration", "600"];
    // One more looks whether a server listens.
    let (code, stdout, stderr) = stopped(&arguments, || accepted.load(Ordering::SeqCst) == 4);
    assert_eq!((code, stderr.as_str()), (Some(130), "stopped\n"));
    assert!(stdout.starts_with("3 clients for ") && !stdout.contains("600 s"), "{stdout}");
}

#[test]
fn stopped_before_it_has_begun_it_has_nothing_to_report() {
    let accepted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&accepted);
    let address = server(move |mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = stream.read(&mut [0]);
    });
    let port = address.port().to_string();
    let arguments = ["127.0.0.1", &port, "-c", "2", "--timeout", "600"];
    let outcome = stopped(&arguments, || accepted.load(Ordering::SeqCst) == 3);
    assert_eq!(outcome, (Some(130), String::new(), "stopped\n".to_owned()));
}

#[test]
fn a_terminal_shows_how_far_it_is() {
    let terminal = Terminal::new(80).unwrap();
    let port = right().port().to_string();
    let mut load = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["127.0.0.1", &port, "-c", "2", "--duration", "600"])
        .stdout(Stdio::null())
        .stderr(terminal.stdio().unwrap())
        .spawn()
        .unwrap();
    let shown = terminal.wait_for(" per second; Ctrl-C ends it", Duration::from_secs(60));
    load.kill().unwrap();
    load.wait().unwrap();
    shown.unwrap();
}

#[test]
fn output_that_cannot_be_written_is_an_error_unless_nobody_reads_it() {
    let port = right().port().to_string();
    reports_unwritable_output(|| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
        command.args(["127.0.0.1", &port, "--json", "--messages", "5"]);
        command
    })
    .unwrap();
}

#[test]
fn nobody_there_is_exit_code_1_and_bad_usage_2() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let output = binary(&["127.0.0.1", &nobody]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1);
    assert_eq!(binary(&["127.0.0.1", &nobody, "-c", "0"]).status.code(), Some(2));
    assert_eq!(binary(&["127.0.0.1"]).status.code(), Some(2));
    let both = binary(&["127.0.0.1", &nobody, "--connect", "--rate", "5"]);
    assert_eq!(both.status.code(), Some(2));
    for (option, value) in [("--timeout", "18446744073709551615"), ("--rate", "4294967295")] {
        let output = binary(&["127.0.0.1", &nobody, option, value]);
        assert_eq!(output.status.code(), Some(2), "{option} {value}");
    }
}
