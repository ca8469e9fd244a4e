//! The traps, each through its binary: the broken mode shows the symptom, and no other mode does.

use std::time::Duration;

fn run(example: &str, mode: &str) -> String {
    let program = check::example(example).unwrap();
    let output = subprocess::run(program, ["--mode", mode], Duration::from_secs(60)).unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The number that follows `text`.
fn figure(output: &str, text: &str) -> f64 {
    let rest = output.split_once(text).map(|(_, rest)| rest);
    let number = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no number follows {text:?} in {output}"))
}

/// How late the ticker was, as a share of the time for which the other task was busy.
fn lateness(output: &str, busy: &str) -> f64 {
    let took = figure(output, busy);
    assert!(took >= 50.0, "too short to hold up a ticker: {output}");
    figure(output, "the ticker was at most ") / took
}

#[test]
fn a_task_that_computes_holds_up_the_ticker() {
    for (mode, holds_up) in [("block", true), ("pool", false), ("yield", false)] {
        let output = run("blocking", mode);
        assert!(output.starts_with("20000000000000003 is prime\n"), "{output}");
        let lateness = lateness(&output, "the computation took ");
        assert!(if holds_up { lateness > 0.5 } else { lateness < 0.33 }, "{mode}: {output}");
    }
}

#[test]
fn a_task_that_is_always_ready_starves_the_ticker() {
    for (mode, starves) in [("starve", true), ("yield", false), ("budget", false)] {
        let output = run("never-yields", mode);
        let lateness = lateness(&output, "the busy task took ");
        assert!(if starves { lateness > 0.5 } else { lateness < 0.33 }, "{mode}: {output}");
        // Far more rounds than the cures allow at a time.
        assert!(figure(&output, " ms for ") > 1000.0, "{mode}: {output}");
    }
}

/// The rest of each line that begins with `start`.
fn lines<'a>(output: &'a str, start: &str) -> Vec<&'a str> {
    output.lines().filter_map(|line| line.strip_prefix(start)).collect()
}

const SENT: [&str; 3] = [r#""one two three\n""#, r#""four five six\n""#, r#""seven eight nine\n""#];

#[test]
fn a_read_that_is_dropped_loses_what_it_has_received_unless_it_is_kept_outside() {
    let lost = run("cancellation", "lost");
    let kept = run("cancellation", "kept");
    for output in [&lost, &kept] {
        assert!(output.starts_with("gave up reading after "), "{output}");
    }
    assert_eq!(lines(&lost, "received ")[0], r#""two three\n", which nobody has sent"#);
    assert_eq!(lines(&lost, "received ")[1..], SENT[1..]);
    assert_eq!(lines(&lost, "never received "), SENT[..1]);
    assert_eq!(lines(&kept, "received "), SENT);
    assert!(lines(&kept, "never received ").is_empty(), "{kept}");
}

#[test]
fn a_write_that_is_dropped_leaves_half_a_line_unless_a_task_does_it() {
    let output = run("cancellation", "half-written");
    assert!(output.contains(r#"gave up writing "one two three\n" after "#), "{output}");
    let received = lines(&output, "received ");
    assert!(received[0].starts_with(r#""one "#), "{output}");
    assert!(received[0].ends_with(r#"four five six\n", which nobody has sent"#), "{output}");

    // The last line was given up, and the program knows that it was not sent.
    let output = run("cancellation", "whole");
    assert!(output.contains(r#"gave up writing "seven eight nine\n" after "#), "{output}");
    assert_eq!(lines(&output, "received "), SENT[..2]);
    assert_eq!(lines(&output, "never received "), SENT[2..]);
}

#[test]
fn a_mutex_that_is_locked_across_an_await_is_a_deadlock() {
    let output = run("lock-across-await", "held");
    assert!(output.starts_with("1. task A: the first step\nthe tasks have not ended "), "{output}");
    assert!(output.ends_with(" and the mutex is locked: a deadlock\n"), "{output}");

    let steps = |output: &str| {
        let steps = output.lines().filter(|line| line.contains(". task "));
        steps.map(|line| line.replace(". task ", "").replace(": the ", " ")).collect::<Vec<_>>()
    };
    let output = run("lock-across-await", "released");
    assert_eq!(
        steps(&output),
        ["1A first step", "2B first step", "3A second step", "4B second step"]
    );
    assert!(figure(&output, "both tasks took ") >= 50.0, "{output}");
    let output = run("lock-across-await", "permit");
    assert_eq!(
        steps(&output),
        ["1A first step", "2A second step", "3B first step", "4B second step"]
    );
    assert!(figure(&output, "both tasks took ") >= 100.0, "{output}");
}

#[test]
fn a_flag_that_is_set_before_the_waker_is_left_wakes_nobody() {
    for (mode, found, ended) in
        [("check-then-register", false, false), ("register-then-check", true, true)]
    {
        let output = run("lost-wakeup", mode);
        assert!(output.contains("the flag is set: true\n"), "{output}");
        assert!(output.contains(&format!("found a waker: {found}\n")), "{mode}: {output}");
        let line = lines(&output, "the task has ended within ")[0];
        assert!(line.ends_with(&format!(": {ended}")), "{mode}: {output}");
    }
}

#[test]
fn tasks_without_number_take_memory_without_measure() {
    let unbounded = run("unbounded-spawn", "unbounded");
    let limited = run("unbounded-spawn", "limited");
    assert_eq!(figure(&unbounded, "the most tasks at once: "), 20_000.0);
    assert_eq!(figure(&limited, "the most tasks at once: "), 100.0);
    // 4 KiB for each request, and the task around it. Other systems do not say.
    if cfg!(target_os = "linux") {
        assert!(figure(&unbounded, "the most memory: ") > 80_000.0, "{unbounded}");
        assert!(figure(&limited, "the most memory: ") < 40_000.0, "{limited}");
    }
}
