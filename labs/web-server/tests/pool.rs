//! The pool, from outside: it grows, shrinks, and answers everything once.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use check::{in_process, wait_until};
use serde_json::Value;
use subprocess::Server;

mod browser;
use browser::{Answer, Browser, get};

fn start(arguments: &[&str]) -> Server {
    Server::start(env!("CARGO_BIN_EXE_web-pool"), ["0"].iter().chain(arguments)).unwrap()
}

fn stop(server: Server) -> String {
    let finished = server.stop().unwrap();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    finished.stderr
}

fn status(address: SocketAddr) -> Value {
    serde_json::from_str(&get(address, "/status.json").body).unwrap()
}

/// The answers that `count` browsers get when they come at once.
fn together(address: SocketAddr, count: usize) -> Vec<Answer> {
    thread::scope(|scope| {
        let browsers: Vec<_> = (0..count).map(|_| scope.spawn(|| get(address, "/"))).collect();
        browsers.into_iter().map(|browser| browser.join().unwrap()).collect()
    })
}

#[test]
fn it_grows_with_the_queue_and_shrinks_to_one_worker() {
    let server =
        start(&["--work", "100ms", "--queue", "5", "--max-workers", "4", "--cooldown", "200ms"]);
    let address = server.address();
    assert_eq!(status(address)["workers"], 1);
    let (mut most_workers, mut most_queue) = (0, 0);
    thread::scope(|scope| {
        let crowd = scope.spawn(|| together(address, 60));
        while !crowd.is_finished() {
            let status = status(address);
            assert!(status["busy"].as_u64() <= Some(4), "{status}");
            most_workers = most_workers.max(status["workers"].as_u64().unwrap());
            most_queue = most_queue.max(status["queue"].as_u64().unwrap());
            thread::sleep(Duration::from_millis(5));
        }
        assert!(crowd.join().unwrap().iter().all(|answer| answer.status == 200));
    });
    assert_eq!(most_workers, 4);
    assert!((1..=5).contains(&most_queue), "{most_queue}");
    wait_until("one worker is left", || status(address)["workers"] == 1).unwrap();

    let status = status(address);
    assert_eq!((&status["answered"], &status["refused"]), (&60.into(), &0.into()));
    assert_eq!(status["hired"].as_u64(), status["retired"].as_u64().map(|retired| retired + 1));
    let log = stop(server);
    assert!(log.contains("worker 2 hired, 2 now"), "{log}");
    assert!(log.contains("queue 0 of 5 for 200ms: worker 2 retires, 1 left"), "{log}");
}

#[test]
fn each_request_is_answered_once_while_workers_come_and_go() {
    let server = start(&[
        "--work",
        "30ms",
        "--queue",
        "3",
        "--max-workers",
        "6",
        "--cooldown",
        "10ms",
        "-q",
    ]);
    let address = server.address();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let status = status(address);
                assert!(status["busy"].as_u64() <= Some(6), "{status}");
            }
        });
        for round in 0..10 {
            for answer in together(address, 30) {
                assert_eq!(answer.status, 200);
            }
            // Long enough for some workers to retire, some of them in the middle of a job, but not for all.
            thread::sleep(Duration::from_millis(10 * round));
        }
        over.store(true, Ordering::Relaxed);
    });
    let status = status(address);
    assert_eq!(status["answered"], 300);
    assert!(status["retired"].as_u64() >= Some(5), "{status}");
    stop(server);
}

#[test]
fn a_worker_that_is_retired_finishes_what_it_holds() {
    // In a queue for one, each job that has to wait hires a worker.
    let server =
        start(&["--work", "2s", "--queue", "1", "--max-workers", "3", "--cooldown", "10ms", "-q"]);
    let address = server.address();
    let mut browsers: Vec<_> = (0..3)
        .map(|number| {
            let mut browser = Browser::new(address);
            browser.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            wait_until("it is worked on", || status(address)["busy"] == number + 1).unwrap();
            browser
        })
        .collect();
    // Three workers are busy and the queue is empty: two of them are retired long before they are done.
    let retired = || {
        let status = status(address);
        assert_eq!(status["answered"], 0, "{status}");
        status["workers"] == 1 && status["retired"] == 2 && status["busy"] == 3
    };
    wait_until("two are retired in the middle", retired).unwrap();
    for browser in &mut browsers {
        assert_eq!(browser.answer().unwrap().status, 200);
    }
    stop(server);
}

#[test]
fn who_is_about_to_leave_stays_when_the_queue_is_full_again() {
    let server = start(&[
        "--work",
        "1500ms",
        "--queue",
        "5",
        "--max-workers",
        "4",
        "--cooldown",
        "50ms",
        "-q",
    ]);
    let address = server.address();
    let ask = || {
        let mut browser = Browser::new(address);
        browser.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        browser
    };
    // Four workers are busy, and the queue is nearly empty: three of them are retired.
    let mut browsers: Vec<_> = (0..8).map(|_| ask()).collect();
    wait_until("three are about to leave", || {
        let status = status(address);
        status["workers"] == 1 && status["busy"] == 4
    })
    .unwrap();
    // While four are at work, no new worker can be hired. So the retired ones are hired again.
    browsers.extend((0..5).map(|_| ask()));
    wait_until("they are hired again", || status(address)["workers"].as_u64() > Some(1)).unwrap();
    for browser in &mut browsers {
        assert_eq!(browser.answer().unwrap().status, 200);
    }
    wait_until("one worker is left", || status(address)["workers"] == 1).unwrap();
    let status = status(address);
    assert_eq!(status["hired"].as_u64(), status["retired"].as_u64().map(|retired| retired + 1));
    stop(server);
}

#[test]
fn free_workers_take_turns() {
    let server =
        start(&["--work", "50ms", "--queue", "1", "--max-workers", "3", "--cooldown", "10m", "-q"]);
    let address = server.address();
    wait_until("there are three workers", || {
        together(address, 8);
        status(address)["workers"] == 3
    })
    .unwrap();
    let mut served: Vec<_> =
        (0..9).map(|_| get(address, "/").body.split(" took").next().unwrap().to_owned()).collect();
    let first = served[..3].to_vec();
    assert_eq!(served, [&first[..], &first, &first].concat());
    served.sort_unstable();
    served.dedup();
    assert_eq!(served, ["worker 1", "worker 2", "worker 3"]);
    stop(server);
}

#[test]
fn when_it_is_full_the_rest_is_turned_away() {
    let server =
        start(&["--work", "1s", "--queue", "2", "--max-workers", "1", "--when-full", "503", "-q"]);
    let answers = together(server.address(), 10);
    let (right, turned_away): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    assert!(right.len() >= 3, "one at work and two in the queue: {}", right.len());
    assert!(!turned_away.is_empty());
    for answer in turned_away {
        assert_eq!((answer.status, answer.field("Retry-After")), (503, Some("1")));
    }
    stop(server);
}

#[test]
fn when_it_is_full_the_rest_waits_and_is_served() {
    let server = start(&[
        "--work",
        "50ms",
        "--queue",
        "2",
        "--max-workers",
        "1",
        "--when-full",
        "wait",
        "-q",
    ]);
    let address = server.address();
    let started = Instant::now();
    let mut outside = 0;
    thread::scope(|scope| {
        let crowd = scope.spawn(|| together(address, 20));
        while !crowd.is_finished() {
            let status = status(address);
            outside = outside.max(status["outside"].as_u64().unwrap());
            assert!(status["queue"].as_u64() <= Some(2), "{status}");
        }
        assert!(crowd.join().unwrap().iter().all(|answer| answer.status == 200));
    });
    assert!(started.elapsed() >= 20 * Duration::from_millis(50), "there is one worker");
    assert!(outside > 0);
    stop(server);
}

#[test]
fn whoever_is_slow_or_silent_costs_no_worker() {
    let server = start(&["--work", "0", "--max-workers", "1", "--read-timeout", "1m", "-q"]);
    let address = server.address();
    let mut slow: Vec<_> = (0..50).map(|_| Browser::new(address)).collect();
    slow.iter_mut().step_by(2).for_each(|browser| browser.say("GET / HTTP/1.1\r\nHost: "));
    let mut kept = Browser::new(address);
    assert_eq!(kept.get("/").status, 200);
    for _ in 0..5 {
        assert_eq!(get(address, "/").status, 200);
    }
    let status = status(address);
    assert_eq!((&status["busy"], &status["workers"]), (&0.into(), &1.into()));
    assert!(status["connections"].as_u64() >= Some(51), "{status}");
    // And when they do finish, they are served.
    slow[0].say("a\r\n\r\n");
    assert_eq!(slow[0].answer().unwrap().status, 200);
    assert_eq!(kept.get("/").status, 200);
    stop(server);
}

#[test]
fn the_status_is_told_while_all_workers_are_busy() {
    let server = start(&["--work", "30s", "--queue", "1", "--max-workers", "1", "-q"]);
    let address = server.address();
    let mut waiting: Vec<_> = (0..3).map(|_| Browser::new(address)).collect();
    waiting.iter_mut().for_each(|browser| browser.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    wait_until("all have asked", || status(address)["outside"] == 1).unwrap();
    let status = status(address);
    assert_eq!((&status["busy"], &status["queue"]), (&1.into(), &1.into()));
    let page = get(address, "/status");
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    assert!(page.body.contains("<dd id=\"outside\">1</dd>"), "{}", page.body);
    assert!(page.body.contains("<path class=\"workers\" d=\"M"), "{}", page.body);
    stop(server);
}

#[test]
fn there_are_no_more_connections_than_there_may_be() {
    let server = start(&["--work", "0", "--max-connections", "5", "--read-timeout", "1m", "-q"]);
    let address = server.address();
    let mut present: Vec<_> = (0..5)
        .map(|_| {
            let mut browser = Browser::new(address);
            assert_eq!(browser.get("/").status, 200);
            browser
        })
        .collect();
    let mut sixth = Browser::new(address);
    assert_eq!(sixth.answer().unwrap().status, 503);
    assert!(sixth.is_closed());
    drop(sixth);
    present.pop();
    wait_until("there is room again", || {
        let mut browser = Browser::new(address);
        browser.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let served = browser.answer().is_some_and(|answer| answer.status == 200);
        present.push(browser);
        served
    })
    .unwrap();

    // Any number may come. Beyond another five, the server closes without an answer.
    let mut crowd: Vec<_> = (0..30).map(|_| Browser::new(address)).collect();
    let told: Vec<_> = crowd.iter_mut().filter_map(Browser::answer).collect();
    assert!(told.iter().all(|answer| answer.status == 503));
    assert!((1..30).contains(&told.len()), "{}", told.len());
    for browser in [0, 1, 2, 3, present.len() - 1] {
        assert_eq!(present[browser].get("/").status, 200);
    }
    stop(server);
}

#[cfg(target_os = "linux")]
#[test]
fn a_pool_at_rest_is_two_threads() {
    let server = start(&["--work", "0", "-q"]);
    assert_eq!(get(server.address(), "/").status, 200);
    assert_eq!(server.threads(), Some(2), "the reception and the first worker");
    stop(server);
}

/// The first of these browsers that is installed.
fn chromium() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| {
        let mut command = Command::new(name);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

#[test]
fn a_browser_shows_the_status_and_keeps_it_up_to_date() {
    let Some(chromium) = chromium() else {
        eprintln!("skipped: there is no Chromium here");
        return;
    };
    let server = start(&["--work", "10ms", "-q"]);
    let address = server.address();
    // In front of the server stands a proxy that counts the requests for the page. A crowd comes before the second one.
    let asked = Arc::new(AtomicUsize::new(0));
    let front = in_process::server(move |mut stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        if !lines.next().is_some_and(|line| line.is_ok_and(|line| line.starts_with("GET /status ")))
        {
            return;
        }
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        if asked.fetch_add(1, Ordering::SeqCst) == 1 {
            together(address, 4);
        }
        let page = get(address, "/status").body;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close";
        let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len());
    })
    .unwrap();
    let profile = std::env::temp_dir().join(format!("web-pool-status-{}", std::process::id()));
    let mut command = Command::new("timeout"); // the browser's own processes may outlive it
    command.args(["--kill-after=5", "60", chromium]);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
    ]);
    command.args([
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    // Ten seconds of the page's virtual time. It passes as fast as the pages come.
    command.args(["--virtual-time-budget=10000", "--dump-dom"]);
    command.arg(format!("http://{front}/status"));
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap();
    let _ = std::fs::remove_dir_all(&profile);
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(page.contains("<path class=\"workers\" d=\"M"), "{page}");
    assert!(page.contains("<dd id=\"answered\">4</dd>"), "it came with 0: {page}");
    stop(server);
}

#[test]
fn who_asks_on_and_on_and_never_reads_is_left() {
    let server = start(&["--work", "0", "--read-timeout", "300ms", "-q"]);
    let address = server.address();
    let mut deaf = Browser::new(address);
    let request = "GET /status HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    wait_until("it is left", || {
        let stream = deaf.stream.get_mut();
        stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        match stream.write_all(request.as_bytes()) {
            Ok(()) => false,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    })
    .unwrap();
    wait_until("and forgotten", || status(address)["connections"] == 1).unwrap();
    stop(server);
}
