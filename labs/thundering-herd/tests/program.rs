//! `herd` as its user runs it.

use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use subprocess::{AtTerminal, Terminal};

const PATIENCE: Duration = Duration::from_secs(60);

fn herd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_herd")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// At a terminal.
fn at_a_terminal(arguments: &[&str]) -> AtTerminal {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    AtTerminal::start(command.args(arguments)).unwrap()
}

/// Stops it; returns what it has printed. Nothing of it is left.
fn interrupted(program: AtTerminal) -> String {
    let output = program.interrupt(PATIENCE).unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stdout));
    text(&output.stdout)
}

#[test]
fn stopped_it_prints_the_rows_so_far() {
    // At least 40 s for the first kind of arrivals of each mode.
    let arguments =
        ["--workers", "2", "--connections", "300", "--only", "accept", "--only", "mutex"];
    let program = at_a_terminal(&arguments);
    program.terminal.wait_for("mutex, 2 ms apart", PATIENCE).unwrap();
    let stdout = interrupted(program);
    assert!(stdout.contains("2 workers, 300 connections for each row"), "{stdout}");
    assert_eq!(stdout.matches("| accept ").count(), 2, "in two tables: {stdout}");
    assert!(!stdout.contains("clients that stay"), "that comes after all modes: {stdout}");
}

#[test]
fn stuck_says_what_it_does_and_keeps_its_rows_if_it_is_stopped() {
    let only = ["--only", "reuseport", "--only", "oneshot"];
    let options = ["--connections", "100", "--runs", "2", "--pause", "20ms"];
    let program = at_a_terminal(&[&["stuck"], &only[..], &options].concat());
    program.terminal.wait_for("oneshot, clients that stay", PATIENCE).unwrap();
    let stdout = interrupted(program);
    assert!(stdout.contains("4 workers, 100 clients 20 ms apart"), "{stdout}");
    assert_eq!(stdout.matches("| reuseport ").count(), 2, "{stdout}");
    assert!(stdout.matches("| oneshot ").count() < 2, "{stdout}");
}

#[test]
fn lost_ends_even_the_worker_that_it_has_stopped() {
    let program = at_a_terminal(&["lost", "--workers", "2", "--connections", "10"]);
    // `accept` is done then; a second of the next mode are its first connections.
    program.terminal.wait_for("blocking", PATIENCE).unwrap();
    thread::sleep(Duration::from_millis(1500));
    let stdout = interrupted(program);
    assert!(stdout.contains("| accept "), "{stdout}");
}

#[test]
fn a_log_has_a_line_for_each_measurement_and_a_whole_table() {
    // The selection has its old name here.
    let output = herd(&["--connections", "20", "--workers", "2", "--mode", "oneshot"]);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("oneshot, back to back: 20 connections...\n"), "{stderr}");
    assert!(stderr.contains("oneshot, clients that stay: 1 run...\n"), "{stderr}");
    let stdout = text(&output.stdout);
    assert!(stdout.contains("| shares |") && stdout.contains(" p99 |"), "{stdout}");
}

#[test]
fn eighty_columns_are_enough_for_each_table() {
    let tables = [
        &["--connections", "20", "--only", "accept"][..],
        &["lost", "--workers", "2", "--connections", "10"],
        &["stuck", "--only", "blocking", "--connections", "10", "--runs", "2"],
    ];
    for arguments in tables {
        let terminal = Terminal::new(80).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_herd"))
            .args(arguments)
            .stdout(terminal.stdio().unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        terminal.wait_for("\r\n|--", PATIENCE).unwrap();
        let shown = terminal.shown();
        let lines = shown.lines();
        assert!(lines.clone().all(|line| line.chars().count() <= 80), "{shown}");
        assert!(lines.filter(|line| line.starts_with("| ")).count() > 1, "{shown}");
    }
}

#[test]
fn nonsense_is_a_usage_error() {
    for arguments in [
        &["--only", "sleepy"][..],
        &["stuck", "--pause", "2"],
        &["stuck", "--pause", "1m"],
        &["--columns", "0"],
        &["--workers", "1"],
    ] {
        assert_eq!(herd(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
