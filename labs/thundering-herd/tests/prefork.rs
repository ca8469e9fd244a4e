//! The server as a user meets it: what it serves, which workers it replaces, how it ends, what it says to nonsense.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use accept_client::{Options, Visit, all};
use check::{Client, wait_until};
use clap::ValueEnum;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, mkstemp};
use subprocess::{Finished, Server};
use thundering_herd::Mode;
use thundering_herd::scoreboard::Scoreboard;
use thundering_herd::worker::Account;

const BINARY: &str = env!("CARGO_BIN_EXE_thundering-herd");

/// The modes in which no worker falls asleep in accept while its clients speak.
fn answering() -> impl Iterator<Item = Mode> {
    Mode::value_variants().iter().copied().filter(|&mode| mode != Mode::Blocking)
}

fn start(mode: Mode, app: &str, workers: usize) -> Server {
    let (mode, workers) = (mode.name(), workers.to_string());
    let arguments = ["0", "--mode", &mode, "--app", app, "--workers", &workers, "--stats", "-q"];
    Server::start(BINARY, arguments).unwrap()
}

fn visits(address: SocketAddr, count: usize, concurrent: usize, message: &str) -> Vec<Visit> {
    let options = Options {
        addresses: vec![address],
        count,
        concurrent,
        pause: Duration::ZERO,
        timeout: Duration::from_secs(20),
    };
    let message = |number| match message {
        "" => Vec::new(),
        message => format!("{message}{number:03}\n").into_bytes(),
    };
    all(&options, message, |_| {}).unwrap()
}

fn served_by(visit: &Visit) -> Pid {
    let reply = String::from_utf8(visit.reply.as_ref().unwrap().clone()).unwrap();
    Pid::from_raw(reply.trim().parse().unwrap())
}

fn stop(server: Server) -> Finished {
    let finished = server.stop().unwrap();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    finished
}

fn accounts(finished: &Finished) -> Vec<Account> {
    let lines = finished.stdout.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether the process has ended. (An orphan may stay a zombie if no process reaps it: in a container without an init.)
fn is_gone(pid: Pid) -> bool {
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    kill(pid, None) == Err(Errno::ESRCH) || state() == Some('Z')
}

#[test]
fn each_message_is_printed_once_by_a_worker() {
    for mode in answering() {
        let server = start(mode, "print", 4);
        for visit in visits(server.address(), 60, 6, "msg") {
            assert_eq!(visit.reply.unwrap(), b"", "{mode:?}");
        }
        let finished = stop(server);
        let workers: Vec<_> = accounts(&finished).iter().map(|worker| worker.pid).collect();
        let mut messages = Vec::new();
        for line in finished.stdout.lines().filter(|line| !line.starts_with('{')) {
            let (pid, message) = line.split_once(" received: ").unwrap();
            assert!(workers.contains(&pid.parse().unwrap()), "{line}");
            messages.push(message);
        }
        messages.sort_unstable();
        let expected: Vec<_> = (1..=60).map(|number| format!("msg{number:03}")).collect();
        assert_eq!(messages, expected, "{mode:?}");
    }
}

#[test]
fn echo_is_the_protocol_of_the_course() {
    for mode in answering() {
        let server = start(mode, "echo", 3);
        // One at a time: in the mode accept each client has a worker to itself.
        for _ in 0..6 {
            let mut client = Client::greeted(server.address()).unwrap();
            client.echo(b"ignored^abc$de^abte$f").unwrap();
            client.echo(&[b"^", &[b'x'; 100_000][..], b"$"].concat()).unwrap();
        }
        stop(server);
    }
}

/// Threads that share a poller must not be told of the same client at the same time.
#[test]
fn a_client_is_one_threads_at_a_time() {
    let server = start(Mode::Oneshot, "echo", 4);
    let address = server.address();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::greeted(address).unwrap();
                for _ in 0..50 {
                    client.echo(&[b"^", &[b'x'; 20_000][..], b"$"].concat()).unwrap();
                }
            });
        }
    });
    let finished = stop(server);
    assert_eq!(finished.stderr, "", "no worker has failed");
    let shares = &accounts(&finished)[0].shares;
    assert_eq!((shares.len(), shares.iter().sum()), (4, 8));
}

#[test]
fn every_line_of_the_log_names_its_process() {
    for mode in answering() {
        let arguments = ["0", "--mode", &mode.name(), "--app", "echo", "--stats", "-v"];
        let server = Server::start(BINARY, arguments).unwrap();
        let master = server.pid();
        for visit in visits(server.address(), 20, 2, "^msg$") {
            assert!(visit.reply.unwrap().starts_with(b"*"), "{mode:?}");
        }
        let finished = stop(server);
        let workers = accounts(&finished);
        let workers = workers.iter().map(|account| format!(" worker{{pid={}}}:", account.pid));
        let names: Vec<_> = workers.chain([format!(" master{{pid={master}}}: ")]).collect();
        for name in &names {
            assert!(finished.stderr.contains(name), "{mode:?}: {name} says nothing");
        }
        for line in finished.stderr.lines() {
            assert_eq!(names.iter().filter(|name| line.contains(*name)).count(), 1, "{line}");
        }
    }
}

/// The same server, and what another program sees of its workers while they run.
fn start_with_scoreboard(mode: Mode, app: &str, workers: usize) -> (Server, Scoreboard) {
    let (file, path) = mkstemp(&std::env::temp_dir().join("scoreboard-XXXXXX")).unwrap();
    let (mode, count, board) = (mode.name(), workers.to_string(), path.to_str().unwrap());
    let arguments = ["0", "--mode", &mode, "--app", app, "--workers", &count, "-q"];
    let server = Server::start(BINARY, arguments.iter().chain(&["--scoreboard", board])).unwrap();
    std::fs::remove_file(&path).unwrap();
    (server, Scoreboard::new(workers, Some(&File::from(file))).unwrap())
}

#[test]
fn others_see_on_the_scoreboard_what_the_workers_do() {
    let (server, scoreboard) = start_with_scoreboard(Mode::Accept, "pid", 3);
    visits(server.address(), 30, 1, "");
    wait_until("all sleep in accept", || {
        scoreboard.rows().iter().all(|row| row.in_accept() && row.begun == row.connections + 1)
    })
    .unwrap();
    let connections: u64 = scoreboard.rows().iter().map(|row| row.connections).sum();
    assert_eq!(connections, 30);
    server.stop().unwrap();
}

/// No race: the worker that is to lose is told of the connection while it has much to do, and the other one accepts.
#[cfg(target_os = "linux")]
#[test]
fn a_worker_stuck_in_accept_does_not_answer_until_a_connection_wakes_it() {
    const CLIENTS: usize = 50;
    let (server, scoreboard) = start_with_scoreboard(Mode::Blocking, "echo", 2);
    let [loser, winner] = server.children().unwrap()[..] else { panic!("two workers") };
    let signal = |worker: i32, signal| kill(Pid::from_raw(worker), signal).unwrap();
    // kill(2) returns before the worker stops: until then it may be told of what comes.
    let stop = |worker: i32| {
        signal(worker, Signal::SIGSTOP);
        wait_until("it has stopped", || {
            let status = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
            status.rsplit(')').next().unwrap().trim_start().starts_with('T')
        })
        .unwrap();
    };
    stop(winner);
    let mut clients: Vec<_> =
        (0..CLIENTS).map(|_| Client::greeted(server.address()).unwrap()).collect();
    let is_loser = |row: &thundering_herd::scoreboard::Row| row.connections == CLIENTS as u64;
    let loser_row = scoreboard.rows().iter().position(is_loser).unwrap();

    let message = [&[b'a'; 60_000][..], b"$^"].concat();
    let answer = [b'b'; 60_000];
    clients.iter_mut().for_each(|client| client.send(b"^").unwrap());
    let mut newcomers = Vec::new();
    wait_until("it has lost", || {
        stop(winner);
        stop(loser);
        let taken = || scoreboard.rows()[1 - loser_row].connections;
        let before = taken();
        clients.iter_mut().for_each(|client| client.send(&message).unwrap());
        newcomers.push(Client::connect(server.address()).unwrap());
        // It is told of all of them at once, of the newcomer last.
        signal(loser, Signal::SIGCONT);
        clients[0].expect(&answer[..1]).unwrap();
        signal(winner, Signal::SIGCONT);
        clients[0].expect(&answer[1..]).unwrap();
        clients[1..].iter_mut().for_each(|client| client.expect(&answer).unwrap());
        newcomers.last_mut().unwrap().expect(b"*").unwrap();
        // If the other one has taken it, this one has gone to take it too, or has not been told of it.
        let is_stuck = || {
            std::thread::sleep(Duration::from_millis(5));
            scoreboard.rows()[loser_row].in_accept()
        };
        taken() > before && (0..40).any(|_| is_stuck())
    })
    .unwrap();
    let stuck = scoreboard.rows()[loser_row];

    for client in &mut clients {
        client.send(b"a").unwrap();
        client.stream.set_nonblocking(true).unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    for client in &mut clients {
        let error = client.stream.read(&mut [0]).expect_err("no client is answered");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        client.stream.set_nonblocking(false).unwrap();
    }
    assert_eq!(scoreboard.rows()[loser_row], stuck);

    // The other worker must not get it.
    stop(winner);
    let _stranger = Client::greeted(server.address()).unwrap();
    clients.iter_mut().for_each(|client| client.expect(b"b").unwrap());
    signal(winner, Signal::SIGCONT);
    server.stop().unwrap();
}

#[test]
fn what_one_says_the_others_hear() {
    let server = start(Mode::Level, "chat", 1);
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(server.address()).unwrap()).collect();
    // Once a client has been heard, the worker knows it.
    let mut speaker = clients.remove(0);
    wait_until("the others are there", || {
        speaker.send(b"is anybody there?\n").unwrap();
        clients.iter_mut().all(|client| {
            client.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            client.stream.read(&mut [0; 1024]).is_ok()
        })
    })
    .unwrap();
    for client in &mut clients {
        client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    }
    clients[0].send(b"no").unwrap();
    clients[0].send(b"body\n").unwrap();
    speaker.expect(b"nobody\n").unwrap();
    let mut last = BufReader::new(&clients[1].stream).lines();
    while last.next().unwrap().unwrap() != "nobody" {}
    stop(server);
}

#[cfg(target_os = "linux")]
#[test]
fn who_does_not_listen_is_sent_away_and_nobody_else_waits() {
    let server = start(Mode::Level, "chat", 1);
    let mut speaker = Client::connect(server.address()).unwrap();
    let mut deaf = Client::connect(server.address()).unwrap();
    deaf.send(b"I am here\n").unwrap();
    speaker.expect(b"I am here\n").unwrap();

    // Once the deaf one's buffers and its 64 KiB here are full, it is closed; its descriptor is gone then.
    let worker = Pid::from_raw(server.children().unwrap()[0]);
    let before = descriptors(worker);
    let line = [&[b'x'; 4000][..], b"\n"].concat();
    wait_until("the deaf one is sent away", || {
        speaker.send(&line).unwrap();
        descriptors(worker) < before
    })
    .unwrap();

    let mut other = Client::connect(server.address()).unwrap();
    other.send(b"and me\n").unwrap();
    speaker.expect(b"and me\n").unwrap();
    stop(server);
}

#[test]
fn a_worker_that_is_killed_under_load_is_replaced_and_nobody_is_refused() {
    for &mode in Mode::value_variants() {
        let server = start(mode, "pid", 4);
        let (address, master) = (server.address(), server.pid());
        let victim = served_by(&visits(address, 1, 1, "")[0]);
        let during = std::thread::scope(|scope| {
            let during = scope.spawn(|| visits(address, 2000, 8, ""));
            kill(victim, Signal::SIGKILL).unwrap();
            during.join().unwrap()
        });
        // The victim's own connections are lost; there is always another worker that listens.
        for error in during.iter().filter_map(|visit| visit.reply.as_ref().err()) {
            assert_ne!(error.kind(), ErrorKind::ConnectionRefused, "{mode:?}");
        }
        wait_until("the dead is buried", || is_gone(victim)).unwrap();
        for visit in visits(address, 200, 8, "") {
            assert!(visit.reply.is_ok(), "{mode:?}: {visit:?}");
        }
        #[cfg(target_os = "linux")]
        let all = mode.processes(4);
        #[cfg(target_os = "linux")]
        wait_until("all are there again", || server.children().unwrap().len() == all).unwrap();
        let finished = stop(server);
        #[cfg(target_os = "linux")]
        assert_eq!(accounts(&finished).len(), all, "{mode:?}: {finished:?}");
        let log = format!("master{{pid={master}}}: worker {victim} was killed by SIGKILL");
        assert!(finished.stderr.contains(&log), "{}", finished.stderr);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_signal_is_so_odd_that_its_victim_is_not_replaced() {
    let server = start(Mode::Mutex, "pid", 2);
    for victim in server.children().unwrap() {
        // A real-time signal, which has a number and no name.
        // SAFETY: kill(2) takes no pointers.
        #[allow(unsafe_code)]
        let killed = unsafe { nix::libc::kill(victim, nix::libc::SIGRTMIN()) };
        assert_eq!(killed, 0);
    }
    wait_until("both are replaced", || {
        server.children().unwrap().len() == 2 && visits(server.address(), 1, 1, "")[0].reply.is_ok()
    })
    .unwrap();
    let finished = stop(server);
    assert_eq!(finished.stderr.matches("was killed by signal 34").count(), 2, "{finished:?}");
}

#[test]
fn a_port_is_nobody_elses_even_if_it_can_be_shared() {
    let first = start(Mode::Reuseport, "pid", 2);
    let port = first.address().port().to_string();
    let output = run_to_its_end(&["--mode", "reuseport", &port]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let expected = format!("error: cannot listen on 127.0.0.1:{port}: Address already in use\n");
    assert_eq!(stderr, expected);
    stop(first);
}

#[test]
fn sigterm_and_sigint_end_all_of_them() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        for &mode in Mode::value_variants() {
            let server = start(mode, "echo", 5);
            let _idle = Client::greeted(server.address()).unwrap();
            server.signal(signal).unwrap();
            let finished = server.wait(Duration::from_secs(20)).unwrap();
            assert_eq!(finished.status.code(), Some(0), "{mode:?}");
            let accounts = accounts(&finished);
            assert_eq!(accounts.len(), mode.processes(5), "{mode:?}: {finished:?}");
            for account in &accounts {
                assert!(is_gone(Pid::from_raw(account.pid)), "{mode:?}");
            }
            // The signal has met one worker in recv and four in accept. It does not count as a return.
            if mode == Mode::Accept {
                assert_eq!(accounts.iter().map(|account| account.returns).sum::<u64>(), 1);
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_worker_outlives_its_master() {
    for &mode in Mode::value_variants() {
        let server = start(mode, "pid", 3);
        let workers = server.children().unwrap();
        assert_eq!(workers.len(), mode.processes(3));
        drop(server); // SIGKILL
        let all_gone = || workers.iter().all(|&pid| is_gone(Pid::from_raw(pid)));
        wait_until("the workers have ended", all_gone).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn connections_leave_no_descriptor_behind() {
    for &mode in Mode::value_variants() {
        for (app, message) in [("print", "msg"), ("echo", "^msg$"), ("pid", ""), ("chat", "msg")] {
            if app == "chat" && matches!(mode, Mode::Accept | Mode::Oneshot) {
                continue; // these modes do not serve it
            }
            let server = start(mode, app, 1);
            let worker = Pid::from_raw(server.children().unwrap()[0]);
            visits(server.address(), 1, 1, message);
            let closed = |count| wait_until("all are closed", || descriptors(worker) == count);
            // Listener, reserve, poller and so on; the connection itself may take a moment to go.
            let mut before = descriptors(worker);
            wait_until("one is closed", || {
                let now = descriptors(worker);
                std::mem::replace(&mut before, now) == now
            })
            .unwrap();
            visits(server.address(), 300, 4, message);
            closed(before).unwrap_or_else(|error| panic!("{mode:?} {app}: {error}"));
            stop(server);
        }
    }
}

/// A server whose lines are read one by one: it listens twice, and prints what it receives.
struct Lines {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Lines {
    fn next(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

#[test]
fn every_port_is_served() {
    for &mode in Mode::value_variants().iter().filter(|&&mode| mode != Mode::Accept) {
        let mut child = Command::new(BINARY)
            // The second one as it was written before ports were arguments.
            .args(["0", "--port", "0", "--mode", &mode.name(), "-q"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = Lines { child, lines };
        let addresses = [server.next(), server.next()]
            .map(|line| line.strip_prefix("Listening on ").unwrap().parse::<SocketAddr>().unwrap());
        for (address, message) in addresses.into_iter().zip(["one", "two"]) {
            TcpStream::connect(address).unwrap().write_all(message.as_bytes()).unwrap();
            let line = server.next();
            assert!(line.ends_with(&format!(" received: {message}")), "{mode:?}: {line}");
        }
    }
}

fn run_to_its_end(arguments: &[&str]) -> Output {
    subprocess::run(BINARY, arguments, Duration::from_secs(20)).unwrap()
}

#[test]
fn a_taken_port_is_one_line_and_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for &mode in Mode::value_variants() {
        let output = run_to_its_end(&["--mode", &mode.name(), &port]);
        assert_eq!(output.status.code(), Some(1), "{mode:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let expected =
            format!("error: cannot listen on 127.0.0.1:{port}: Address already in use\n");
        assert_eq!(stderr, expected, "{mode:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn nonsense_is_a_usage_error() {
    for (arguments, complaint) in [
        (&["--workers", "0"][..], "0 is not in 1..=1000"),
        (&["--mode", "sleepy"], "sleepy"),
        (&["--app", "mail"], "mail"),
        (&["65536"], "65536"),
        (&["--port", "65536"], "65536"),
        (&["--mode", "accept", "0", "0"], "waits for one listener"),
        (&["--mode", "accept", "--app", "chat"], "--app chat needs another --mode"),
        (&["--mode", "oneshot", "--app", "chat"], "--app chat needs another --mode"),
        (&["--mode", "accept", "--keep-listeners"], "--keep-listeners is about"),
    ] {
        let output = run_to_its_end(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with("error: ") && stderr.contains(complaint), "{stderr}");
    }
}

/// The processes that this one has forked.
#[cfg(target_os = "linux")]
fn descriptors(pid: Pid) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
