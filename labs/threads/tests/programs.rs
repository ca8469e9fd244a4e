//! Each program shows the symptom that it promises.

use std::env::consts::OS;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Runs an example, and returns its output.
fn run(example: &str, arguments: &[&str]) -> String {
    let path = check::example(example).unwrap();
    output(&path, arguments)
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = subprocess::run(program, arguments, Duration::from_secs(60)).unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The number that follows `before` in `text`.
fn number_after(text: &str, before: &str) -> f64 {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {text:?}")).1;
    let number = rest.split_whitespace().next().unwrap_or_default();
    number.parse().unwrap_or_else(|_| panic!("no number after {before:?} in {text:?}"))
}

#[test]
fn updates_are_lost_between_read_and_write_and_nowhere_else() {
    for mode in ["atomic", "mutex"] {
        let text = run("lost-update", &["--mode", mode]);
        assert_eq!(number_after(&text, "found 20000000: "), 0.0, "{text}");
    }
    // The two threads must run at the same time. The test can only try that several times.
    if std::thread::available_parallelism().unwrap().get() > 1 {
        let is_lost = |_| !run("lost-update", &[]).contains(": 0 are lost");
        assert!((0..20).any(is_lost), "nothing was lost in twenty runs");
    }
}

#[test]
fn two_orders_are_a_deadlock_and_one_order_is_none() {
    let text = run("deadlock", &["--mode", "two-orders"]);
    assert!(text.contains("2 accounts are locked: a deadlock"), "{text}");
    assert_eq!(run("deadlock", &["--mode", "one-order"]), "both transfers are done\n");
}

#[test]
fn a_byte_there_and_back_takes_two_switches_and_longer_than_a_call() {
    let text = run("context-switch", &[]);
    // Threads on two cores may see the byte before they sleep.
    assert!(number_after(&text, "context switches:") > 0.5, "{text}");
    let call = number_after(&text, "a function call:");
    assert!(number_after(&text, "there and back:") > 10.0 * call, "{text}");
    if OS == "linux" {
        let text = run("context-switch", &["--one-core"]);
        assert!(number_after(&text, "context switches:") > 1.5, "{text}");
    }
}

#[test]
fn the_work_is_the_same_with_any_number_of_threads() {
    let text = run("more-threads-than-cores", &["--steps", "1000000"]);
    assert_eq!(text.lines().filter(|line| line.starts_with('|')).count(), 2 + 6, "{text}");
}

/// Compiles a program of the folder `c`. Returns none if there is no C compiler.
fn compiled(name: &str) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("c/{name}.c"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let compiler = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-O1", "-pthread", "-o"])
        .arg(&program)
        .arg(&source)
        .status();
    match compiler {
        Ok(status) => {
            assert!(status.success(), "{} does not compile", source.display());
            Some(program)
        }
        Err(error) => {
            eprintln!("skipped: there is no C compiler ({error})");
            None
        }
    }
}

#[test]
fn the_c_programs_have_their_bugs() {
    let expected = [
        ("size-without-lock", "items left in the queue: -1\n"),
        ("argument-on-the-stack", "serving client 4\nserving client 4\nserving client 4\n"),
        (
            "closed-twice",
            "the client was given the same number as the log\nwriting to the log: Bad file descriptor\n",
        ),
    ];
    for (name, expected) in expected {
        let Some(program) = compiled(name) else { return };
        // The programs pause long enough for the usual case. On a busy machine that may be too short.
        let shows = |_| output(&program.to_string_lossy(), &[]) == expected;
        assert!((0..20).any(shows), "{name} did not show its bug in twenty runs");
    }
}

#[test]
fn a_thread_that_is_neither_joined_nor_detached_keeps_its_stack() {
    let Some(program) = compiled("neither-joined-nor-detached") else { return };
    if OS == "linux" {
        let more = |arguments: &[&str]| {
            number_after(&output(&program.to_string_lossy(), arguments), "the process has ")
        };
        let (kept, detached) = (more(&[]), more(&["detach"]));
        assert!(kept > 10.0 * detached.max(1.0), "{kept} MiB, {detached} MiB if detached");
    }
}
