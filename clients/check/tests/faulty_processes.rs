//! The cases that need a process, against programs that have one fault each: a case that is about the fault must catch
//! it, for the right reason. The stages' own tests show that the cases let a right server pass.
//!
//! This program is both: the tests, and, called as `... serve FAULT PORT`, the faulty server.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use check::{Case, Outcome, Target, cases, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::{SigSet, Signal};
use protocol::Session;

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
    ("panics-on-a-taken-port", "port-taken", "expected 1"),
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
    ("serves-one-at-a-time", "silent-peer", "nothing came"),
    ("serves-one-at-a-time", "open-message-peer", "nothing came"),
    ("serves-one-at-a-time", "peer-that-does-not-read", "nothing came"),
    ("says-too-much", "quiet", "-q"),
    ("colours-its-log", "quiet", "colours in the log"),
    ("counts-wrongly", "stats", "not 3 clients"),
    ("traces-no-ends", "trace", "0 times accept"),
    ("leaves-its-trace-open", "trace", "it is not JSON"),
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
    libtest_mimic::run(&options, trials).exit_code()
}

fn trial(&(fault, name, expected): &'static (&str, &str, &str)) -> Trial {
    Trial::test(format!("{fault} {name}"), move || {
        if cfg!(not(target_os = "linux"))
            && ["grows", "piles-up-slowly", "holds-30-MiB", "spins", "leaks-descriptors"]
                .contains(&fault)
        {
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

/// The faulty server: a thread per peer, and its main thread waits for the signal.
mod server {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

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
        if fault != "does-not-announce-itself" {
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
                        thread::spawn(|| {
                            loop {
                                std::hint::spin_loop()
                            }
                        });
                    }
                    short = true;
                }
            }
        }
    }

    fn serve(mut stream: TcpStream, fault: &str) {
        static LEAKED: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());
        CLIENTS.fetch_add(1, Ordering::SeqCst);
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
        let _ = exchange(&mut stream, fault);
        let _ = stream.shutdown(std::net::Shutdown::Both);
        CLIENTS.fetch_sub(1, Ordering::SeqCst);
    }

    fn exchange(stream: &mut TcpStream, fault: &str) -> io::Result<()> {
        stream.write_all(b"*")?;
        let (mut session, mut reply) = (Session::new(), Vec::new());
        let (mut hoard, mut ballast) = (Vec::new(), Vec::new());
        let mut buffer = vec![0; 64 * 1024];
        loop {
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
            if piles_up && reply.len() > 64 {
                hoard.append(&mut reply);
            } else {
                stream.write_all(&reply)?;
                reply.clear();
            }
        }
    }
}
