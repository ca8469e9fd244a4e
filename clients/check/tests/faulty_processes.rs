//! The cases that need a process, against programs that have one fault each: a case that is about the fault must catch
//! it, for the right reason. The stages' own tests show that the cases let a right server pass.
//!
//! This program is both: the tests, and, called as `... serve FAULT PORT`, the faulty server.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use check::{Case, Outcome, Target, cases, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use protocol::Session;
use subprocess::Terminal;

/// A fault, the case that must catch it, and what that case must say.
const FAULTS: &[(&str, &str, &str)] = &[
    ("ignores-arguments", "unknown-option", "still runs"),
    ("ignores-arguments", "port-out-of-range", "still runs"),
    ("ignores-arguments", "trace-unwritable", "still runs"),
    ("ignores-arguments", "help", "still runs"),
    ("ignores-arguments", "once", "did not end"),
    ("ignores-arguments", "ipv6", "it listens on 127.0.0.1"),
    ("ignores-arguments", "unresolvable-host", "still runs"),
    ("ignores-arguments", "foreign-address", "still runs"),
    ("panics-on-a-taken-port", "port-taken", "expected exit code 1"),
    ("dies-of-signals", "sigterm", "signal: 15"),
    ("dies-of-signals", "sigint", "signal: 2"),
    ("ignores-signals", "sigterm-with-peers", "did not end"),
    ("waits-for-its-peers", "sigterm-unread", "did not end"),
    ("leaves-at-once", "sigterm-owed", "were on their way before SIGTERM"),
    ("leaves-at-once", "sigterm-talking", "did not end in order"),
    ("leaves-at-once", "sigterm-deaf", "did not end in order"),
    ("leaves-at-once", "sigterm-counted", "did not end in order"),
    ("lingers-for-nothing", "sigterm-silent", "its peers were owed nothing"),
    ("leaks-descriptors", "no-descriptor-left-behind", "not within"),
    ("piles-up", "bounded-output", "the server took all"),
    ("piles-up-slowly", "bounded-output", "bytes of answers"),
    ("holds-30-MiB", "bounded-output", "bytes of answers"),
    ("grows", "bounded-output", "the server has grown by"),
    ("leaves-newcomers-waiting", "out-of-descriptors", "neither served nor sent away"),
    ("spins", "out-of-descriptors", "of CPU time in one idle second"),
    ("complains-each-time", "out-of-descriptors", "warnings for one shortage"),
    ("never-complains", "out-of-descriptors", "nothing in the log"),
    ("burns-a-core", "idle", "of CPU time in"),
    ("spins-on-an-urgent-byte", "urgent-byte", "of CPU time in"),
    ("leaks-1-KiB", "2000-connections", "it has grown by"),
    ("dies-at-the-1000th", "2000-connections", "it has ended with exit status: 3"),
    ("dies-of-sigpipe", "broken-pipe", "it has ended with signal: 13"),
    ("minds-being-stopped", "stopped", "the server closed the connection"),
    ("prints-each-client", "output-closed", "failed printing to stdout"),
    ("leaves-zombies", "no-zombies", "zombies"),
    ("panics-on-an-error", "no-panic", "its log has: thread"),
    ("serves-one-at-a-time", "silent-peer", "nothing came"),
    ("serves-one-at-a-time", "open-message-peer", "nothing came"),
    ("serves-one-at-a-time", "peer-that-does-not-read", "nothing came"),
    ("says-too-much", "quiet", "-q"),
    ("colours-its-log", "quiet", "colours in the log"),
    ("counts-wrongly", "stats", "not 3 clients"),
    ("traces-no-ends", "trace", "0 times accept"),
    ("leaves-its-trace-open", "trace", "it is not JSON"),
];

/// Faults that only Linux's /proc shows.
const IN_PROC: &[&str] = &[
    "grows",
    "piles-up-slowly",
    "holds-30-MiB",
    "spins",
    "leaks-descriptors",
    "burns-a-core",
    "spins-on-an-urgent-byte",
    "leaks-1-KiB",
    "leaves-zombies",
];

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().collect();
    if let [_, serve, fault, arguments @ ..] = &words[..]
        && serve == "serve"
    {
        return server::main(fault, arguments);
    }
    let options = check::test_arguments();
    // Longer patience would not help against these faults. This is enough for a loaded machine to start a process.
    check::set_patience(Duration::from_secs(3));
    let mut trials: Vec<_> = FAULTS.iter().map(trial).collect();
    trials.push(Trial::test("a-server-that-does-not-announce-itself", || Ok(unannounced()?)));
    trials.push(Trial::test("a-script-that-stays", || Ok(staying_script()?)));
    trials.push(Trial::test("a-script-that-becomes-the-server", || Ok(becoming_script()?)));
    trials.push(Trial::test("a-command-that-does-not-listen", || Ok(not_listening()?)));
    trials.push(Trial::test("a-server-that-dies-of-a-reset", || Ok(dies_of_a_reset()?)));
    trials.push(Trial::test("a-server-that-does-not-greet", || Ok(does_not_greet()?)));
    trials.push(Trial::test("a-server-that-ends-at-once", || Ok(ends_at_once()?)));
    trials.push(Trial::test("a-stranger-out-of-descriptors", || Ok(leaves_in_the_backlog()?)));
    trials.push(Trial::test("stopped-by-ctrl-c", || Ok(stopped_by_ctrl_c()?)));
    trials.push(Trial::test("at-a-terminal", || Ok(at_a_terminal()?)));
    libtest_mimic::run(&options, trials).exit_code()
}

fn trial(&(fault, name, expected): &'static (&str, &str, &str)) -> Trial {
    Trial::test(format!("{fault} {name}"), move || {
        if cfg!(not(target_os = "linux")) && IN_PROC.contains(&fault) {
            eprintln!("{fault}: skipped, this system has no /proc to see it in");
            return Ok(());
        }
        let (program, mut arguments) = faulty(fault)?;
        arguments.push("{port}".into());
        let outcome = case(name).run(&Target::Command(program, arguments));
        let failure = outcome.err().map(|failure| failure.to_string()).unwrap_or_default();
        Ok(ensure(failure.contains(expected), || format!("expected `{expected}`: {failure}"))?)
    })
}

fn case(name: &str) -> &'static Case {
    cases().iter().find(|case| case.name == name).expect("there is such a case")
}

fn faulty(fault: &str) -> io::Result<(OsString, Vec<OsString>)> {
    Ok((std::env::current_exe()?.into(), vec!["serve".into(), fault.into()]))
}

/// `check` notices it, and then it passes what it can pass.
fn unannounced() -> Outcome {
    let (program, mut arguments) = faulty("does-not-announce-itself")?;
    arguments.push("{port}".into());
    let target = Target::command(program, arguments)?;
    ensure(matches!(target, Target::Unannounced(..)), || format!("{target:?}"))?;
    for name in ["greeting", "16-MiB", "reset-idle", "interleaved", "sigterm", "sigterm-restart"] {
        case(name).run(&target).map_err(|failure| check::Failure(format!("{name}: {failure}")))?;
    }
    Ok(())
}

fn script(name: &str, command: &str) -> io::Result<(std::path::PathBuf, OsString)> {
    let (program, _) = faulty("")?;
    let path = std::env::temp_dir().join(format!("check-{name}-{}.sh", std::process::id()));
    fs::write(&path, format!("{command} \"{}\" serve none \"$1\"\n", program.display()))?;
    Ok((path.clone(), path.into()))
}

/// Signals reach the script and not the server: said once, without a hang, and nothing is left behind.
fn staying_script() -> Outcome {
    // Something must follow in the script: many shells exec the last command by themselves.
    let (path, name) = script("stays", "trap : USR1\n")?;
    let text = fs::read_to_string(&path)?.replace("trap : USR1\n ", "");
    fs::write(&path, format!("{}; exit\n", text.trim_end()))?;
    let started = Instant::now();
    let result = Target::command("sh".into(), vec![name, "{port}".into()]);
    fs::remove_file(&path)?;
    let failure = result.map(|target| format!("{target:?}")).unwrap_or_else(|e| e.to_string());
    ensure(failure.contains("must `exec` the server"), || failure)?;
    ensure(started.elapsed() < Duration::from_secs(15), || format!("{:?}", started.elapsed()))
}

fn becoming_script() -> Outcome {
    let (path, name) = script("becomes", "exec")?;
    let result = Target::command("sh".into(), vec![name, "{port}".into()]);
    let outcome = result.map_err(check::Failure::from).and_then(|target| {
        ensure(matches!(target, Target::Command(..)), || format!("{target:?}"))?;
        case("sigterm-with-peers").run(&target)
    });
    fs::remove_file(&path)?;
    outcome
}

fn not_listening() -> Outcome {
    for (program, expected) in [("true", "does not listen on"), ("no/such/program", "cannot start")]
    {
        let failure = match Target::command(program.into(), vec!["{port}".into()]) {
            Ok(target) => format!("{target:?}"),
            Err(error) => error.to_string(),
        };
        ensure(failure.contains(expected), || failure)?;
    }
    let check =
        Command::new(env!("CARGO_BIN_EXE_check")).args(["--cmd", "true {port}"]).output()?;
    ensure(check.status.code() == Some(1) && check.stderr.starts_with(b"error: "), || {
        format!("{check:?}")
    })
}

/// The command `check`, about the server with this fault.
fn check(fault: &str, options: &[&str]) -> io::Result<Command> {
    let (program, _) = faulty("")?;
    let server = format!("{} serve {fault} {{port}}", program.display());
    let mut check = Command::new(env!("CARGO_BIN_EXE_check"));
    check.args(["--cmd", &server]).args(options);
    Ok(check)
}

/// `check` looks whether the server is there, and that kills no server: the case that is about a reset fails, and no other.
fn dies_of_a_reset() -> Outcome {
    let names = ["--only", "greeting", "--only", "transcripts", "--only", "reset-idle"];
    let output = check("dies-of-a-reset", &names)?.output()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let words: Vec<_> = stdout.lines().map(|line| line.split(' ').next().unwrap_or("")).collect();
    ensure(words[..3] == ["ok", "ok", "FAILED"], || format!("{output:?}"))?;
    for text in [
        "\n        server    it has ended with exit status: 4",
        "\n        hint      an error of recv",
    ] {
        ensure(stdout.contains(text), || format!("no `{text}`: {stdout}"))?;
    }
    ensure(stdout.ends_with("\n2 passed, 1 failed, 0 skipped\n"), || stdout.to_string())
}

/// It is not asked anything else then, unless that is wanted; and a stranger's server is not asked for this course's options.
fn does_not_greet() -> Outcome {
    let path = std::env::temp_dir().join(format!("check-junit-{}.xml", std::process::id()));
    let junit = path.to_string_lossy();
    let options = ["--timeout", "200ms", "--junit", &junit];
    let output = check("does-not-greet", &options)?.output()?;
    let written = fs::read_to_string(&path);
    let _ = fs::remove_file(&path);
    let stdout = String::from_utf8_lossy(&output.stdout);
    ensure(output.status.code() == Some(1), || format!("{output:?}"))?;
    let end = stdout.lines().last().unwrap_or_default();
    for text in [
        "0 passed, 1 failed, ",
        "the greeting failed, --keep-going goes on all the same: transcripts, ",
        "; this course's own options and messages, --all runs them: ",
        "Limits",
    ] {
        ensure(end.contains(text), || format!("no `{text}`: {stdout}"))?;
    }
    let written = written?;
    let number = cases().len();
    for text in [
        &format!(
            "<testsuite name=\"check\" tests=\"{number}\" failures=\"1\" errors=\"0\" skipped=\"{}\"",
            number - 1
        ),
        "<testcase classname=\"Protocol\" name=\"greeting\" time=\"",
        "<failure message=\"the greeting: nothing came for 200ms, after 0 of 1 bytes\">",
        "missing   &quot;*&quot;",
        "<skipped message=\"the greeting failed, ",
    ] {
        ensure(written.contains(text), || format!("no `{text}`: {written}"))?;
    }

    let options =
        ["--timeout", "200ms", "--keep-going", "--json", "--only", "greeting", "--only", "state"];
    let output = check("does-not-greet", &options)?.output()?;
    let objects: Vec<serde_json::Value> = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(io::Error::from)?;
    let names: Vec<_> = objects.iter().filter_map(|object| object["case"].as_str()).collect();
    ensure(names == ["greeting", "state"], || format!("{output:?}"))?;
    let hint = "the state is kept for each read instead of for each connection";
    ensure(objects[1]["hint"] == hint && objects[1]["outcome"] == "FAILED", || {
        format!("{output:?}")
    })
}

fn ends_at_once() -> Outcome {
    let output = check("ends-at-once", &[])?.output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure(output.status.code() == Some(1) && stderr.lines().count() == 1, || {
        format!("{output:?}")
    })?;
    ensure(stderr.ends_with("; it ended with exit status: 7: no configuration\n"), || {
        stderr.to_string()
    })
}

/// The protocol does not forbid it, and this course's servers do.
fn leaves_in_the_backlog() -> Outcome {
    let (program, mut arguments) = faulty("leaves-newcomers-waiting")?;
    arguments.push("{port}".into());
    case("out-of-descriptors").run(&Target::Unannounced(program, arguments))
}

/// A terminal shows which case takes so long. What was found is said, and no server stays behind.
fn stopped_by_ctrl_c() -> Outcome {
    let options = ["--timeout", "60s", "--only", "greeting", "--only", "silent-peer"];
    let terminal = Terminal::new(80)?;
    let mut check = check("serves-one-at-a-time", &options)?
        .stdout(Stdio::piped())
        .stderr(terminal.stdio()?)
        .spawn()?;
    let mut stdout = BufReader::new(check.stdout.take().expect("it is piped"));
    let mut first = String::new();
    stdout.read_line(&mut first)?;
    // The server of the case that hangs.
    let mut servers = String::new();
    let mut process = 0;
    if cfg!(target_os = "linux") {
        check::wait_until("it has a server", || {
            let pid = check.id();
            let path = format!("/proc/{pid}/task/{pid}/children");
            servers = fs::read_to_string(path).unwrap_or_default();
            process = servers.trim().parse().unwrap_or_default();
            process > 0
        })?;
    }
    let patience = Duration::from_secs(10);
    terminal.wait_for("silent-peer: a peer that says nothing", patience)?;
    kill(Pid::from_raw(check.id() as i32), Signal::SIGINT)?;
    let mut rest = String::new();
    stdout.read_to_string(&mut rest)?;
    let output = check.wait_with_output()?;
    ensure(output.status.code() == Some(130), || format!("{output:?}"))?;
    terminal.wait_for("stopped\r\n", patience)?;
    ensure(first.starts_with("ok      greeting"), || first)?;
    let expected = "1 passed, 0 failed, 0 skipped, 1 not run: stopped in silent-peer\n";
    ensure(rest == expected, || format!("{rest:?}"))?;
    ensure(process == 0 || !is_running(process), || format!("the server {process} still runs"))
}

/// Not even as what init has not reaped yet.
fn is_running(process: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

/// The list fits a terminal of 80 columns; elsewhere each case has one line.
fn at_a_terminal() -> Outcome {
    let mut list = Command::new(env!("CARGO_BIN_EXE_check"));
    list.arg("--list");
    let plain = String::from_utf8_lossy(&list.output()?.stdout).into_owned();
    ensure(plain.lines().count() == cases().len(), || plain.clone())?;
    let terminal = Terminal::new(80)?;
    let status = list.stdout(terminal.stdio()?).status()?;
    ensure(status.success(), || format!("{status}"))?;
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    check::wait_until("all is on the terminal", || words(&terminal.shown()) == words(&plain))
        .map_err(|failure| check::Failure(format!("{failure}: {}", terminal.shown())))?;
    let shown = terminal.shown();
    ensure(shown.lines().count() > cases().len(), || shown.clone())?;
    ensure(shown.lines().all(|line| line.chars().count() <= 80), || shown.clone())
}

/// The faulty server: a thread per peer, and its main thread waits for the signal.
mod server {
    use super::*;
    use std::os::fd::{AsFd, AsRawFd};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::signal::{SigHandler, signal};
    use nix::sys::socket::{MsgFlags, send};

    static CLIENTS: AtomicUsize = AtomicUsize::new(0);

    pub(super) fn main(fault: &str, arguments: &[String]) -> ExitCode {
        let fault: &'static str = String::leak(fault.to_owned());
        let has = |option: &str| arguments.iter().any(|argument| argument == option);
        // What the faulty ones get right: the exit code of a usage error, one line for another.
        let port = arguments.iter().find_map(|argument| argument.parse::<u16>().ok());
        if fault != "ignores-arguments" && (port.is_none() || has("--no-such-option")) {
            eprintln!("error: usage");
            return ExitCode::from(2);
        }
        let port = port.unwrap_or_default();
        let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
        if fault != "dies-of-signals" {
            // Blocked here and in all threads to come; `wait` takes them.
            signals.thread_block().expect("signals can be blocked");
        }
        // A port that is taken is a panic: exit code 101.
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        if fault == "ends-at-once" {
            eprintln!("no configuration");
            return ExitCode::from(7);
        }
        if !["does-not-announce-itself", "does-not-greet", "dies-of-a-reset"].contains(&fault) {
            println!("Listening on {}", listener.local_addr().expect("it is bound"));
        }
        let trace = arguments.iter().position(|word| word == "--trace");
        if let Some(path) =
            trace.and_then(|at| arguments.get(at + 1)).filter(|_| fault != "ignores-arguments")
        {
            let event = r#"{"name":"accept","ph":"B","pid":1,"tid":1,"ts":1}"#;
            let end = if fault == "leaves-its-trace-open" { ",\n" } else { "\n]\n" };
            fs::write(path, format!("[\n{event}{end}")).expect("a writable trace");
        }
        if fault == "burns-a-core" {
            thread::spawn(spin);
        }
        if fault == "dies-of-sigpipe" {
            // SAFETY: it is the default action, no handler.
            #[allow(unsafe_code)]
            let result = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
            result.expect("SIGPIPE has a default action");
        }
        thread::spawn(move || accept_all(&listener, fault));
        if fault == "dies-of-signals" || fault == "ignores-signals" {
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        }
        signals.wait().expect("a signal");
        while fault == "waits-for-its-peers" && CLIENTS.load(Ordering::SeqCst) > 0 {
            thread::sleep(Duration::from_millis(5));
        }
        if fault == "lingers-for-nothing" {
            thread::sleep(Duration::from_secs(1));
        }
        if has("--stats") {
            println!("{{\"server\":\"faulty\",\"clients\":4,\"syscalls\":{{}}}}");
        }
        ExitCode::SUCCESS
    }

    fn accept_all(listener: &TcpListener, fault: &'static str) {
        let mut reserve = File::open("/dev/null").ok();
        let mut short = false;
        loop {
            match listener.accept() {
                Ok((stream, _)) if fault == "serves-one-at-a-time" => serve(stream, fault),
                Ok((stream, _)) => drop(thread::spawn(move || serve(stream, fault))),
                Err(_) if fault == "leaves-newcomers-waiting" => {
                    thread::sleep(Duration::from_millis(50))
                }
                Err(_) => {
                    drop(reserve.take());
                    drop(listener.accept());
                    reserve = File::open("/dev/null").ok();
                    if (!short || fault == "complains-each-time") && fault != "never-complains" {
                        eprintln!("WARN out of descriptors");
                    }
                    if !short && fault == "spins" {
                        thread::spawn(spin);
                    }
                    short = true;
                }
            }
        }
    }

    fn spin() {
        loop {
            std::hint::spin_loop();
        }
    }

    fn serve(mut stream: TcpStream, fault: &str) {
        static LEAKED: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());
        static LEAKED_MEMORY: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
        static TOTAL: AtomicUsize = AtomicUsize::new(0);
        CLIENTS.fetch_add(1, Ordering::SeqCst);
        if TOTAL.fetch_add(1, Ordering::SeqCst) == 999 && fault == "dies-at-the-1000th" {
            std::process::exit(3);
        }
        match fault {
            "leaks-1-KiB" => LEAKED_MEMORY.lock().expect("no panic").push(vec![1; 1024]),
            "prints-each-client" => println!("a client"),
            "leaves-zombies" => drop(Command::new("true").spawn()),
            "minds-being-stopped" => {
                // recv with a time limit is not restarted.
                let _ = stream.set_read_timeout(Some(Duration::from_secs(3600)));
            }
            _ => {}
        }
        if fault == "says-too-much" {
            eprintln!("Calling recv...");
        }
        if fault == "colours-its-log" && std::env::args().any(|word| word == "-v") {
            eprintln!("\x1b[2mCalling recv... recv returned 7 bytes\x1b[0m");
        }
        if fault == "leaks-descriptors"
            && let (Ok(copy), Ok(mut leaked)) = (stream.try_clone(), LEAKED.lock())
        {
            leaked.push(copy);
        }
        let result = exchange(&mut stream, fault);
        match fault {
            "panics-on-an-error" => result.unwrap(),
            "dies-of-a-reset" if result.is_err() => std::process::exit(4),
            _ => {}
        }
        let _ = stream.shutdown(std::net::Shutdown::Both);
        CLIENTS.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits for bytes and for urgent ones, and says whether there are bytes.
    fn is_readable(stream: &TcpStream) -> io::Result<bool> {
        let mut descriptors = [PollFd::new(stream.as_fd(), PollFlags::POLLIN | PollFlags::POLLPRI)];
        poll(&mut descriptors, PollTimeout::NONE)?;
        Ok(descriptors[0].revents() != Some(PollFlags::POLLPRI))
    }

    fn exchange(stream: &mut TcpStream, fault: &str) -> io::Result<()> {
        if fault != "does-not-greet" {
            stream.write_all(b"*")?;
        }
        let (mut session, mut reply) = (Session::new(), Vec::new());
        let (mut hoard, mut ballast) = (Vec::new(), Vec::new());
        let mut buffer = vec![0; 64 * 1024];
        loop {
            while fault == "spins-on-an-urgent-byte" && !is_readable(stream)? {}
            let length = stream.read(&mut buffer)?;
            if length == 0 {
                return stream.write_all(&hoard);
            }
            session.receive(&buffer[..length], &mut reply);
            if fault == "grows" && length > 64 {
                // It stops reading, as it should, and has taken memory all the same.
                ballast.resize(48 << 20, 1_u8);
            }
            let piles_up = match fault {
                "piles-up" => true,
                "piles-up-slowly" => {
                    // A pause after each MiB: a client that waits less long than this takes it for the end.
                    if (hoard.len() + reply.len()) >> 20 > hoard.len() >> 20 {
                        thread::sleep(Duration::from_millis(350));
                    }
                    true
                }
                "holds-30-MiB" => hoard.len() < 30 << 20,
                _ => false,
            };
            if fault == "dies-of-sigpipe" {
                // std's own sends ask for no signal.
                send(stream.as_raw_fd(), &reply, MsgFlags::empty())?;
                reply.clear();
            } else if piles_up && reply.len() > 64 {
                hoard.append(&mut reply);
            } else {
                stream.write_all(&reply)?;
                reply.clear();
            }
        }
    }
}
