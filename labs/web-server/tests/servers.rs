//! The four servers as a browser meets them.

use std::io::{BufRead, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use check::wait_until;
use nix::sys::signal::Signal;
#[cfg(target_os = "linux")]
use nix::{sys::signal::kill, unistd::Pid};
use subprocess::Server;

mod browser;
use browser::{Browser, get};

const SEQUENTIAL: &str = env!("CARGO_BIN_EXE_web-sequential");
const FORK: &str = env!("CARGO_BIN_EXE_web-fork");
const THREADS: &str = env!("CARGO_BIN_EXE_web-threads");
const POOL: &str = env!("CARGO_BIN_EXE_web-pool");
const ALL: [&str; 4] = [SEQUENTIAL, FORK, THREADS, POOL];

fn start(binary: &str, arguments: &[&str]) -> Server {
    Server::start(binary, ["0"].iter().chain(arguments)).unwrap()
}

/// Starts browsers at once, and returns how long it took until all of them had their page.
fn together(address: SocketAddr, count: usize) -> Duration {
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                let mut browser = Browser::new(address);
                browser.say("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
                assert_eq!(browser.answer().unwrap().status, 200);
                assert!(browser.is_closed());
            });
        }
    });
    started.elapsed()
}

fn stop(server: Server) -> String {
    let finished = server.stop().unwrap();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    finished.stderr
}

#[test]
fn what_is_said_is_answered_rightly() {
    let long = "x".repeat(5000);
    let many = "x: y\r\n".repeat(100);
    let cases = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 200),
        ("GET /?a=b HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 200),
        ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 404),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("hello\r\n\r\n".to_owned(), 400),
        ("\u{0}\u{1}\u{2}".to_owned(), 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_owned(), 405),
        ("BREW / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 501),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
                .to_owned(),
            405,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
                .to_owned(),
            417,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            411,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n".to_owned(), 413),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nb: {long}{long}{long}{long}\r\n\r\n"), 431),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(), 505),
    ];
    for binary in ALL {
        let server = start(binary, &["--work", "0", "-q"]);
        for (text, status) in &cases {
            let mut browser = Browser::new(server.address());
            browser.say(text);
            let answer = browser.answer().unwrap();
            assert_eq!(answer.status, *status, "{binary}: {text:?}");
            if *status == 405 {
                assert_eq!(answer.field("Allow"), Some("GET, HEAD"));
            }
            if !matches!(status, 200 | 404) {
                assert_eq!(answer.field("Connection"), Some("close"), "{binary}: {text:?}");
                assert!(browser.is_closed(), "{binary}: {text:?}");
            }
        }
        stop(server);
    }
}

#[test]
fn head_has_the_same_length_and_no_body() {
    for binary in ALL {
        let server = start(binary, &["--work", "0", "-q"]);
        let mut browser = Browser::new(server.address());
        browser.say("HEAD /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let head = browser.answer_to(true).unwrap();
        assert!(browser.is_closed(), "{binary}: there is a body");
        let mut browser = Browser::new(server.address());
        browser.say("GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let get = browser.answer().unwrap();
        assert_eq!(head.status, get.status, "{binary}");
        assert_eq!(head.field("Content-Length"), get.field("Content-Length"), "{binary}");
        stop(server);
    }
}

#[test]
fn a_connection_is_kept_and_requests_in_one_piece_are_answered_in_order() {
    for binary in [FORK, THREADS, POOL] {
        let server = start(binary, &["--work", "0", "-q"]);
        let mut browser = Browser::new(server.address());
        for _ in 0..3 {
            let answer = browser.get("/");
            assert_eq!((answer.status, answer.field("Connection")), (200, Some("keep-alive")));
        }
        let piece = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /no HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        browser.say(piece);
        let statuses = [(); 3].map(|()| browser.answer().unwrap().status);
        assert_eq!(statuses, [200, 404, 200], "{binary}");
        assert!(browser.is_closed(), "{binary}");
        stop(server);
    }
}

#[test]
fn the_sequential_server_keeps_no_connection() {
    let server = start(SEQUENTIAL, &["--work", "0", "-q"]);
    let mut browser = Browser::new(server.address());
    assert_eq!(browser.get("/").field("Connection"), Some("close"));
    assert!(browser.is_closed());
    stop(server);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    for binary in ALL {
        let server = start(binary, &["--work", "0", "-q"]);
        let mut browser = Browser::new(server.address());
        for byte in "GET / HTTP/1.1\r\nHost: a\r\n\r\n".chars() {
            browser.say(&byte.to_string());
        }
        assert_eq!(browser.answer().unwrap().status, 200, "{binary}");
        stop(server);
    }
}

#[test]
fn who_never_finishes_is_told_so_and_who_says_nothing_is_left() {
    for binary in ALL {
        let server = start(binary, &["--work", "0", "--read-timeout", "200ms", "-q"]);
        let mut browser = Browser::new(server.address());
        browser.say("GET / HTTP/1.1\r\nHo");
        assert_eq!(browser.answer().unwrap().status, 408, "{binary}");
        assert!(browser.is_closed(), "{binary}");
        assert!(Browser::new(server.address()).is_closed(), "{binary}");

        // A byte now and then does not reset the deadline.
        let mut browser = Browser::new(server.address());
        let mut answered = false;
        wait_until("the dripping one is answered", || {
            let _ = browser.stream.get_mut().write_all(b"x");
            browser.stream.get_mut().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            answered |= browser.stream.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
            answered
        })
        .unwrap();
        stop(server);
    }
}

#[test]
fn many_bytes_are_no_progress_either() {
    for binary in ALL {
        let server = start(binary, &["--work", "0", "--read-timeout", "300ms", "-q"]);
        let mut browser = Browser::new(server.address());
        let started = Instant::now();
        browser.say("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n");
        // The bytes come too slowly for the deadline, but too fast for the timeout of one recv. All 65,536 would take a
        // minute.
        let mut stream = browser.stream.get_ref().try_clone().unwrap();
        let drip = thread::spawn(move || {
            while stream.write_all(b"x").is_ok() && started.elapsed() < Duration::from_secs(20) {
                thread::sleep(Duration::from_millis(1));
            }
        });
        assert_eq!(browser.answer().unwrap().status, 408, "{binary}");
        assert!(started.elapsed() < Duration::from_secs(10), "{binary}: {:?}", started.elapsed());
        drop(browser);
        drip.join().unwrap();
        stop(server);
    }
}

#[test]
fn who_talks_on_after_the_end_is_not_listened_to_for_ever() {
    for binary in ALL {
        let server = start(binary, &["--work", "0", "-q"]);
        let mut browser = Browser::new(server.address());
        browser.say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(browser.answer().unwrap().status, 200, "{binary}");
        let more = [b'x'; 4096];
        wait_until("it is left", || browser.stream.get_mut().write_all(&more).is_err())
            .unwrap_or_else(|error| panic!("{binary}: {error}"));
        stop(server);
    }
}

#[test]
fn once_is_one_client() {
    for binary in ALL {
        let server = start(binary, &["--work", "0", "--once", "-q"]);
        let mut browser = Browser::new(server.address());
        assert_eq!(browser.get("/").status, 200, "{binary}");
        drop(browser);
        let finished = server.wait(Duration::from_secs(20)).unwrap();
        assert_eq!(finished.status.code(), Some(0), "{binary}: {}", finished.stderr);
    }
}

#[test]
fn a_half_closed_client_is_answered() {
    for binary in ALL {
        let server = start(binary, &["--work", "50ms", "-q"]);
        let mut browser = Browser::new(server.address());
        browser.say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        browser.stream.get_mut().shutdown(Shutdown::Write).unwrap();
        assert_eq!(browser.answer().unwrap().status, 200, "{binary}");
        assert!(browser.is_closed(), "{binary}");
        stop(server);
    }
}

#[test]
fn sequential_takes_n_times_as_long_and_fork_and_threads_do_not() {
    let work = Duration::from_millis(300);
    for binary in [SEQUENTIAL, FORK, THREADS] {
        let server = start(binary, &["--work", "300ms", "-q"]);
        let took = together(server.address(), 8);
        if binary == SEQUENTIAL {
            assert!(took >= 8 * work, "{took:?}");
        } else {
            assert!(took >= work && took < 7 * work, "{binary}: {took:?}");
        }
        stop(server);
    }
}

#[test]
fn work_on_a_core_is_cpu_time() {
    for binary in [SEQUENTIAL, THREADS, POOL] {
        let server = start(binary, &["--work", "cpu:200ms", "-q"]);
        assert_eq!(get(server.address(), "/").status, 200);
        let usage = server.stop().unwrap().usage;
        assert!(usage.user + usage.system >= Duration::from_millis(200), "{binary}: {usage:?}");
    }
}

#[test]
fn a_crash_takes_the_sequential_server_with_it() {
    let server = start(SEQUENTIAL, &["--work", "0", "-q"]);
    let mut browser = Browser::new(server.address());
    browser.say("GET /crash HTTP/1.1\r\nHost: a\r\n\r\n");
    let finished = server.wait(Duration::from_secs(20)).unwrap();
    assert_eq!(finished.status.code(), Some(101), "{}", finished.stderr);
    assert!(finished.stderr.contains("somebody has asked for /crash"), "{}", finished.stderr);
}

#[test]
fn a_crash_harms_nobody_else() {
    for (binary, says) in [
        (FORK, "was killed by SIGABRT"),
        (THREADS, "a thread has panicked"),
        (POOL, "a thread has panicked"),
    ] {
        let server = start(binary, &["--work", "300ms", "-q"]);
        let address = server.address();
        let other = thread::spawn(move || get(address, "/").status);
        let mut browser = Browser::new(address);
        browser.say("GET /crash HTTP/1.1\r\nHost: a\r\n\r\n");
        // In the pool only the job ends. In the others the process or thread that had the connection ends.
        match browser.answer() {
            Some(answer) => assert_eq!((answer.status, binary), (500, POOL)),
            None => assert_ne!(binary, POOL),
        }
        assert_eq!(other.join().unwrap(), 200, "{binary}");
        assert_eq!(get(address, "/").status, 200, "{binary}");
        let log = stop(server);
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains(says), "{log}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_child_stays_when_nobody_comes_any_more() {
    let server = start(FORK, &["--work", "0", "-q"]);
    for _ in 0..10 {
        together(server.address(), 20);
    }
    wait_until("all children are reaped", || server.children().unwrap().is_empty()).unwrap();
    stop(server);
}

#[cfg(target_os = "linux")]
#[test]
fn there_are_never_more_children_than_there_may_be() {
    let server = start(FORK, &["--work", "200ms", "--max-children", "2", "-q"]);
    let address = server.address();
    let browsers = thread::spawn(move || together(address, 6));
    let mut most = 0;
    while !browsers.is_finished() {
        most = most.max(server.children().unwrap().len());
        thread::sleep(Duration::from_millis(2));
    }
    let took = browsers.join().unwrap();
    assert_eq!(most, 2);
    assert!(took >= Duration::from_millis(600), "6 browsers, 2 at a time: {took:?}");
    stop(server);
}

#[cfg(target_os = "linux")]
#[test]
fn the_port_is_free_when_the_server_is_gone_and_so_are_its_children() {
    let server = start(FORK, &["--work", "30s", "-q"]);
    let address = server.address();
    let mut browser = Browser::new(address);
    browser.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("there is a child", || !server.children().unwrap().is_empty()).unwrap();
    let child = Pid::from_raw(server.children().unwrap()[0]);
    stop(server);
    assert!(kill(child, None).is_err(), "a child is left");
    TcpListener::bind(address).unwrap();

    // If the server is killed, its child still has the connection, but not the port.
    let server = start(FORK, &["--work", "2s", "-q"]);
    let address = server.address();
    let mut browser = Browser::new(address);
    browser.say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    wait_until("there is a child", || !server.children().unwrap().is_empty()).unwrap();
    let child = Pid::from_raw(server.children().unwrap()[0]);
    drop(server); // SIGKILL
    // The child may have been forked only a moment ago.
    wait_until("the port is free", || TcpListener::bind(address).is_ok()).unwrap();
    assert!(kill(child, None).is_ok(), "it is free because there is no child");
    assert_eq!(browser.answer().unwrap().status, 200);
}

/// Runs browsers with kept connections and without for a while, and returns how many pages they got.
#[cfg(target_os = "linux")]
fn crowd(address: SocketAddr, rounds: usize) -> usize {
    thread::scope(|scope| {
        let browsers: Vec<_> = (0..8)
            .map(|number| {
                scope.spawn(move || {
                    let mut pages = 0;
                    for _ in 0..rounds {
                        let mut browser = Browser::new(address);
                        for _ in 0..if number % 2 == 0 { 1 } else { 5 } {
                            let answer = browser.get("/");
                            assert_eq!(answer.status, 200);
                            pages += 1;
                            if answer.field("Connection") == Some("close") {
                                break;
                            }
                        }
                    }
                    pages
                })
            })
            .collect();
        browsers.into_iter().map(|browser| browser.join().unwrap()).sum()
    })
}

#[cfg(target_os = "linux")]
#[test]
fn a_crowd_leaves_nothing_behind() {
    for binary in ALL {
        let server = start(binary, &["--work", "0", "-q", "--read-timeout", "1s"]);
        let pages = crowd(server.address(), 2);
        let descriptors = || server.open_descriptors().unwrap();
        let settled = || {
            let before = descriptors();
            thread::sleep(Duration::from_millis(50));
            descriptors() == before && server.children().unwrap().is_empty()
        };
        wait_until("it is quiet", settled).unwrap();
        let before = (descriptors(), server.threads());
        assert!(crowd(server.address(), 40) > pages);
        let after = || (descriptors(), server.threads());
        let same = || after() == before && server.children().unwrap().is_empty();
        wait_until("all is as it was", same)
            .unwrap_or_else(|error| panic!("{binary}: {error}, {:?} and not {before:?}", after()));
        stop(server);
    }
}

#[test]
fn sigterm_ends_all_of_them_while_they_work() {
    for binary in ALL {
        for (signal, work) in
            [(Signal::SIGTERM, "30s"), (Signal::SIGINT, "30s"), (Signal::SIGTERM, "cpu:30s")]
        {
            let server = start(binary, &["--work", work, "-q"]);
            let mut browser = Browser::new(server.address());
            browser.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let _silent = Browser::new(server.address());
            thread::sleep(Duration::from_millis(50)); // somewhere in the middle
            server.signal(signal).unwrap();
            let finished = server.wait(Duration::from_secs(20)).unwrap();
            assert_eq!(finished.status.code(), Some(0), "{binary}: {}", finished.stderr);
        }
    }
}

#[test]
fn whoever_says_stop_again_and_again_does_not_put_it_off() {
    for (binary, work) in ALL.into_iter().flat_map(|binary| [(binary, "cpu:30s"), (binary, "30s")])
    {
        let server = start(binary, &["--work", work, "-q"]);
        let mut browser = Browser::new(server.address());
        browser.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        thread::sleep(Duration::from_millis(50)); // somewhere in the middle
        let answer = thread::spawn(move || browser.answer().map(|answer| answer.status));
        wait_until("it has ended", || {
            let _ = server.signal(Signal::SIGTERM);
            thread::sleep(Duration::from_millis(100));
            answer.is_finished()
        })
        .unwrap_or_else(|error| panic!("{binary}: {error}"));
        // If the page was not done by then, the browser gets a 503. (On a loaded machine, a thread other than the first
        // may be too slow for that.)
        let answer = answer.join().unwrap();
        assert!(answer == Some(503) || (binary == THREADS && answer.is_none()), "{answer:?}");
        assert_eq!(server.wait(Duration::from_secs(20)).unwrap().status.code(), Some(0));
    }
}

#[test]
fn an_alarm_that_is_not_its_own_ends_a_server() {
    for binary in ALL {
        let server = start(binary, &["-q"]);
        server.signal(Signal::SIGALRM).unwrap();
        let finished = server.wait(Duration::from_secs(20)).unwrap();
        assert_eq!(finished.status.code(), Some(0), "{binary}: {}", finished.stderr);
    }
}

#[test]
fn a_request_in_hand_is_answered_before_the_end() {
    for binary in ALL {
        let server = start(binary, &["--work", "600ms", "-q"]);
        let mut browser = Browser::new(server.address());
        // After this answer the thread or process of this browser exists, and only has to read the next request.
        if binary != SEQUENTIAL {
            assert_eq!(browser.get("/nothing").status, 404);
        }
        browser.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        thread::sleep(Duration::from_millis(200));
        server.signal(Signal::SIGTERM).unwrap();
        let answer = browser.answer().unwrap_or_else(|| panic!("{binary}: no answer"));
        assert_eq!(answer.status, 200, "{binary}");
        assert!(answer.body.contains("took 0.6"), "{binary}: {}", answer.body);
        assert_eq!(server.wait(Duration::from_secs(20)).unwrap().status.code(), Some(0));
    }
}

#[test]
fn bad_arguments_and_a_taken_port_are_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = |binary: &str, arguments: &[&str]| {
        let command = Command::new(binary).args(arguments).stdin(Stdio::null()).output().unwrap();
        (command.status.code(), String::from_utf8(command.stderr).unwrap())
    };
    for binary in ALL {
        let expected =
            format!("error: cannot listen on 127.0.0.1:{port}: Address already in use\n");
        assert_eq!(run(binary, &[&port]), (Some(1), expected), "{binary}");
        for arguments in [["--work", "5x"], ["--work", "gpu:5s"], ["--read-timeout", "soon"]] {
            let (code, stderr) = run(binary, &arguments);
            assert_eq!(code, Some(2), "{binary} {arguments:?}");
            assert!(stderr.contains("a duration such as"), "{stderr}");
        }
        let (code, help) = (run(binary, &["--help"]).0, {
            let output = Command::new(binary).arg("--help").output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        });
        assert_eq!(code, Some(0));
        assert!(help.contains("[default: 8090]"), "{help}");
    }
    assert_eq!(run(FORK, &["--max-children", "0"]).0, Some(2));
    assert_eq!(run(POOL, &["--read-timeout", "0"]).0, Some(2));
    for arguments in [["--queue", "0"], ["--max-workers", "0"], ["--when-full", "perhaps"]] {
        assert_eq!(run(POOL, &arguments).0, Some(2), "{arguments:?}");
    }
}

#[test]
fn a_client_that_resets_is_nobody_elses_business() {
    for binary in ALL {
        let server = start(binary, &["--work", "100ms", "-q"]);
        for text in ["", "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let mut browser = Browser::new(server.address());
            browser.say(text);
            // With a linger time of zero, close sends a reset.
            let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            let stream = browser.stream.get_ref();
            nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &linger)
                .unwrap();
        }
        assert_eq!(get(server.address(), "/").status, 200, "{binary}");
        let mut gone = Browser::new(server.address());
        gone.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        drop(gone);
        assert_eq!(get(server.address(), "/").status, 200, "{binary}");
        stop(server);
    }
}
