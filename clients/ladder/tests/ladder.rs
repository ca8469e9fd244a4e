//! The ladder as its user runs it, on stages built with the tests' own profile.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use subprocess::{AtTerminal, Terminal};

fn ladder(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ladder"))
        .args(["--profile", "dev"])
        .args(arguments)
        .output()
        .unwrap()
}

fn claims(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ladder"))
        .args(["claims", "--profile", "dev"])
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_stage_is_measured_and_the_figures_are_what_they_must_be() {
    let output = ladder(&["--all", "-n", "4", "--delay", "0.05", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let measurements: Value = serde_json::from_slice(&output.stdout).unwrap();
    let measurements = measurements.as_array().unwrap();
    let names: Vec<_> = measurements.iter().map(|m| m["stage"].as_str().unwrap()).collect();
    let all: Vec<_> = ladder::servers().map(|stage| stage.server).collect();
    assert_eq!(names, all);
    for m in measurements {
        let stage = m["stage"].as_str().unwrap();
        let (elapsed, ideal) = (m["elapsed"].as_f64().unwrap(), m["ideal"].as_f64().unwrap());
        assert_eq!(m["clients"], 4);
        assert!(elapsed >= ideal, "{stage}: no server is faster than the client's own pauses");
        if matches!(stage, "step1-sequential" | "step3-blocking") {
            assert!(elapsed >= 4.0 * ideal, "{stage}: one after another takes four times as long");
        }
        // An accept, a greeting, an answer, a request and an end for each at the least: with so short pauses a stage
        // that sleeps between its sweeps may find all three requests at once.
        assert!(m["syscalls"].as_u64() >= Some(4 * 5), "{stage}: {m}");
        assert!(m["peak_memory"].as_u64() > Some(100_000), "{stage}: {m}");
        if cfg!(target_os = "linux") {
            let threads = m["threads"].as_u64().unwrap();
            assert!(threads == 1 || stage.contains("thread"), "{stage}: {threads} threads");
        }
    }
}

#[test]
fn the_table_has_a_row_for_each_stage_that_was_asked_for() {
    let output = ladder(&[
        "-n",
        "3",
        "--delay",
        "0",
        "--only",
        "1",
        "--only",
        "thread",
        "--sequential-max",
        "2",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    let rows: Vec<_> = stdout.lines().filter(|line| line.starts_with("| step")).collect();
    assert_eq!(rows.len(), 2, "{stdout}");
    assert!(rows[0].contains("step1-sequential") && rows[0].contains("2 of 3"), "{stdout}");
    assert!(rows[1].contains("step2-thread-per-client"), "{stdout}");
    assert!(stdout.contains("| switches |"), "without a terminal it is the whole table: {stdout}");
    assert!(rows[0].contains("|       - |"), "without pauses there is no ideal: {stdout}");
    let stderr = text(&output.stderr);
    assert!(stderr.contains("step1-sequential: 2 clients...\n"), "progress is shown: {stderr}");
    assert!(stderr.contains("step1-sequential: 2 clients in 0."), "and what came of it: {stderr}");
}

#[test]
fn the_servers_of_a_lab_are_selected_by_their_names() {
    let output = ladder(&["-n", "2", "--delay", "0", "--only", "echo"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    let rows: Vec<_> = stdout.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert_eq!(rows.len(), 2, "{stdout}");
    assert!(rows[0].contains("async-echo") && rows[1].contains("tokio-echo"), "{stdout}");
    assert!(stdout.contains("tokio-echo: Tokio's own waits are not among"), "{stdout}");
}

#[test]
fn the_report_is_one_page_with_a_timeline_for_each_stage() {
    let path = std::env::temp_dir().join(format!("ladder-report-{}.html", std::process::id()));
    let file = path.to_str().unwrap();
    let only = ["--only", "1", "--only", "6", "--only", "async-echo"];
    let arguments = [&["--all", "-n", "3", "--delay", "0.05", "--report", file], &only[..]];
    let output = ladder(&arguments.concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    for said in [&page, &text(&output.stdout)] {
        assert!(said.contains(ladder::report::TRACED), "that the figures include the tracing");
    }
    assert!(text(&output.stderr).contains(&format!("wrote {file}\n")));
    // The overview, three timelines, the calls from close by, and the plot, with what only these do.
    assert_eq!(page.matches("<svg").count(), 6);
    let at = |what: &str| page.find(what).unwrap_or_else(|| panic!("{what} is missing"));
    assert!(at("3 clients at once, 3 servers: who waits?") < at("<table"), "the overview is first");
    for what in [
        ">conn2<",
        "recv: ",
        "epoll_wait: ",
        "on_peer_ready_recv: ",
        "waiting for the greeting: ",
        ">task ",
        "readable.await: ",
        "task: asleep at .await",
        "seconds since the clients started",
        "CPU time for a message, in µs",
        "idle peers",
        "The moment after t = ",
        " µs, from 0.0",
        "/step6-epoll-kqueue/README.md\">The chapter</a>",
        "/labs/async-await/README.md\">The chapter</a>",
    ] {
        let here = page.contains(what) || (what.starts_with("epoll") && page.contains("kevent: "));
        assert!(here, "{what} is missing");
    }
    for stage in ["step5-select", "step6-epoll-kqueue", "step7-event-loop", "async-echo"] {
        assert!(page.contains(&format!("{stage}, 900 idle peers: ")), "{stage}");
    }
    assert!(!page.contains("http://") && !page.contains("https://"), "it needs the network");
}

#[test]
fn under_attack_limits_free_threads_and_memory_but_drippers_keep_their_places() {
    let attack = ["attack", "--profile", "dev", "--only", "2", "-n", "150", "--json"];
    let output = Command::new(env!("CARGO_BIN_EXE_ladder")).args(attack).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = rows.as_array().unwrap();
    let seen = |row: &Value| {
        let served = row["newcomer"].is_number();
        (row["attackers"].as_str().unwrap().to_owned(), row["limits"].as_bool().unwrap(), served)
    };
    let expected = [
        ("silent", false, true),
        ("silent", true, true),
        ("dripping", false, true),
        ("dripping", true, false),
    ];
    let expected =
        expected.map(|(attackers, limits, served)| (attackers.to_owned(), limits, served));
    assert_eq!(rows.iter().map(seen).collect::<Vec<_>>(), expected);
    if cfg!(target_os = "linux") {
        let threads: Vec<_> = rows.iter().map(|row| row["threads"].as_u64().unwrap()).collect();
        assert!(threads[0] > 150 && threads[1] <= 102 && threads[3] <= 102, "{threads:?}");
    }
}

#[test]
fn a_stage_that_does_not_exist_is_one_line_and_exit_code_1() {
    let output = ladder(&["--only", "step99"]);
    assert_eq!(output.status.code(), Some(1));
    let names: Vec<_> = ladder::servers().map(|stage| stage.server).collect();
    let expected = format!("error: no stage is called step99; there are {}\n", names.join(", "));
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn a_claim_that_does_not_exist_is_one_line_and_exit_code_1() {
    let output = claims(&["--only", "step", "--only", "nonsense"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "error: no claim contains \"nonsense\"\n");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_report_that_cannot_be_written_is_said_before_anything_is_measured() {
    let output = ladder(&["--only", "6", "--report", "/no-such-folder/page.html"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("error: cannot write /no-such-folder/page.html: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn the_ladder_allows_itself_the_descriptors_that_its_clients_need() {
    let output = Command::new("sh")
        .args(["-c", "ulimit -Sn 64 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ladder")])
        .args(["--profile", "dev", "--only", "6", "-n", "100", "--delay", "0", "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let measurements: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(measurements[0]["clients"], 100);
}

#[test]
fn bad_arguments_are_a_usage_error() {
    for arguments in [["-n", "0"], ["--delay", "-1"], ["--no-such", "option"]] {
        assert_eq!(ladder(&arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(claims(&["-n", "3"]).status.code(), Some(2));
    let both = Command::new(env!("CARGO_BIN_EXE_ladder"))
        .args(["--only", "5", "--json", "claims", "--only", "x"])
        .output()
        .unwrap();
    assert_eq!(both.status.code(), Some(2));
    assert!(text(&both.stderr).contains("cannot be used with"), "{}", text(&both.stderr));
}

/// A cargo whose only stage never says where it listens. It writes to `alive`, once, and holds it open while it lives.
const SILENT_STAGE: &str = r#"
mkfifo "$0/alive"
cat >"$0/cargo" <<END
#!/bin/sh
case \$1 in
metadata) echo '{"packages": [{"name": "step1-sequential", "targets": [{"name": "step1-sequential", "kind": ["bin"]}]}]}' ;;
build) echo '{"executable": "$0/server", "target": {"name": "step1-sequential"}}' ;;
esac
END
cat >"$0/server" <<END
#!/bin/sh
exec 3>"$0/alive"
for trace; do :; done
echo begun >"\$trace"
echo "\$trace" >&3
exec sleep 60
END
chmod +x "$0/cargo" "$0/server"
"#;

#[test]
fn a_ladder_that_is_stopped_leaves_nothing_behind_even_if_a_server_is_only_starting() {
    let folder = std::env::temp_dir().join(format!("ladder-stopped-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    // A shell writes the scripts: no other thread's child can have them open when they are run.
    assert!(Command::new("sh").args(["-c", SILENT_STAGE]).arg(&folder).status().unwrap().success());
    let mut stopped = Command::new(env!("CARGO_BIN_EXE_ladder"))
        .args(["--only", "1", "--report"])
        .arg(folder.join("page.html"))
        .env("CARGO", folder.join("cargo"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (sender, lines) = mpsc::channel();
    let alive = folder.join("alive");
    std::thread::spawn(move || {
        let mut alive = BufReader::new(std::fs::File::open(alive).unwrap());
        let mut trace = String::new();
        alive.read_line(&mut trace).unwrap();
        sender.send(trace).unwrap();
        // Ends when no writer is left.
        alive.read_to_string(&mut String::new()).unwrap();
        sender.send(String::new()).unwrap();
    });
    let trace = lines.recv_timeout(Duration::from_secs(30)).expect("the server was not started");
    let pid = stopped.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(stopped.wait().unwrap().code(), Some(130));
    lines.recv_timeout(Duration::from_secs(10)).expect("the server was left behind");
    assert!(trace.trim_end().ends_with(".trace"), "{trace}");
    assert!(!Path::new(trace.trim_end()).exists(), "{trace} was left behind");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Long enough to build the servers on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// At a terminal.
fn at_a_terminal(arguments: &[&str]) -> AtTerminal {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ladder"));
    AtTerminal::start(command.args(arguments).args(["--profile", "dev"])).unwrap()
}

/// Stops it; returns what it has printed. Nothing of it is left.
fn interrupted(program: AtTerminal) -> String {
    let output = program.interrupt(PATIENCE).unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stdout));
    text(&output.stdout)
}

#[test]
fn a_ladder_that_is_stopped_prints_the_rows_so_far() {
    // The second stage serves one after another, and takes ten times as long.
    let program = at_a_terminal(&["--only", "2", "--only", "3", "-n", "10"]);
    program.terminal.wait_for("step3-blocking", PATIENCE).unwrap();
    let stdout = interrupted(program);
    assert!(stdout.contains("| step2-thread-per-client |      10 | "), "{stdout}");
    assert!(!stdout.contains("step3"), "{stdout}");
}

#[test]
fn claims_say_what_is_measured_and_keep_what_was_if_they_are_stopped() {
    let only = ["claims", "--only", "step 2 takes as long for 5", "--only", "step 3 takes N"];
    let program = at_a_terminal(&only);
    program.terminal.wait_for("step 3 takes N times as long", PATIENCE).unwrap();
    let stdout = interrupted(program);
    assert!(stdout.contains("step 2 takes as long for 5 clients as for one: "), "{stdout}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
}

#[test]
fn an_attack_says_who_is_attacked_and_keeps_its_rows_if_it_is_stopped() {
    let program = at_a_terminal(&["attack", "--only", "6", "-n", "10", "--json"]);
    program.terminal.wait_for("step6-epoll-kqueue: silent, with limits", PATIENCE).unwrap();
    let rows: Value = serde_json::from_str(&interrupted(program)).unwrap();
    let row = &rows.as_array().unwrap()[0];
    assert_eq!((&row["attackers"], &row["limits"]), (&"silent".into(), &false.into()));
    assert!(row["newcomer"].is_number(), "{row}");
}

#[test]
fn a_terminal_of_80_columns_gets_a_table_of_80_columns() {
    let terminal = Terminal::new(80).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ladder"))
        .args(["--profile", "dev", "--only", "2", "--only", "4", "-n", "20", "--delay", "0.05"])
        .stdout(terminal.stdio().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    terminal.wait_for("21 threads for 20 clients\r\n", PATIENCE).unwrap();
    let shown = terminal.shown();
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    for column in ["| stage ", "| elapsed |", "| threads |", "| in vain |"] {
        assert!(shown.contains(column), "{column}: {shown}");
    }
    assert!(shown.contains("There is no room for memory"), "{shown}");
}

#[test]
fn the_help_fits_80_columns_too() {
    let terminal = Terminal::new(80).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_ladder"))
        .args(["attack", "--help"])
        .stdin(Stdio::null())
        .stdout(terminal.stdio().unwrap())
        .stderr(terminal.stdio().unwrap())
        .status();
    assert!(status.unwrap().success());
    terminal.wait_for("Print help", PATIENCE).unwrap();
    let shown = terminal.shown();
    // Without the escape sequences that make its words bold.
    let width = |line: &str| {
        let (first, others) = line.trim_end().split_once('\x1b').unwrap_or((line.trim_end(), ""));
        let plain = |piece: &str| piece.split_once('m').map_or(0, |(_, text)| text.chars().count());
        first.chars().count() + others.split('\x1b').map(plain).sum::<usize>()
    };
    assert!(shown.lines().map(width).all(|width| width <= 80), "{shown}");
    assert!(shown.lines().map(width).any(|width| width > 60), "{shown}");
}

#[test]
fn a_profile_that_does_not_exist_is_an_error_and_no_empty_table() {
    for arguments in [&["--only", "6"][..], &["claims"], &["attack", "--only", "6"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_ladder"))
            .args(arguments)
            .args(["--profile", "nope"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        let stderr = text(&output.stderr);
        let last = "error: cargo cannot build; its message is above\n";
        assert!(stderr.contains("`nope`") && stderr.ends_with(last), "{stderr}");
    }
}

/// A cargo that writes down what it is to build, and builds nothing.
fn cargo_that_notes(folder: &Path) -> PathBuf {
    let script = r#"
        mkdir "$0"
        printf '#!/bin/sh\ncase $1 in build) echo "$*" >>"%s/builds"; echo "{}" ;; *) exec "%s" "$@" ;; esac\n' "$0" "$1" >"$0/cargo"
        chmod +x "$0/cargo""#;
    let real = std::env::var_os("CARGO").unwrap();
    let written = Command::new("sh").args(["-c", script]).arg(folder).arg(real).status();
    assert!(written.unwrap().success());
    folder.join("cargo")
}

#[test]
fn whatever_is_built_is_built_with_the_same_features() {
    // cargo chooses the features of nix, on which all else rests, by the packages that it is given.
    let folder = std::env::temp_dir().join(format!("ladder-builds-{}", std::process::id()));
    let cargo = cargo_that_notes(&folder);
    for arguments in [&["--only", "1", "--only", "2"][..], &["--all"], &["attack"], &["claims"]] {
        let ladder = Command::new(env!("CARGO_BIN_EXE_ladder"))
            .args(arguments)
            .env("CARGO", &cargo)
            .output()
            .unwrap();
        assert_eq!(ladder.status.code(), Some(1), "{}", text(&ladder.stderr));
    }
    let builds = std::fs::read_to_string(folder.join("builds")).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let after = |line: &str, option: &str| -> Vec<String> {
        let words: Vec<_> = line.split(' ').collect();
        let pairs = words.windows(2).filter(|pair| pair[0] == option);
        pairs.map(|pair| pair[1].to_owned()).collect()
    };
    let binaries: Vec<_> = builds.lines().filter(|line| line.contains(" --bin ")).collect();
    assert_eq!(binaries.len(), 2 + 2 + 1 + 1, "{builds}");
    for line in &binaries {
        assert_eq!(after(line, "-p"), after(binaries[0], "-p"));
        assert!(after(line, "-p").contains(&"ladder".to_owned()), "{line}");
    }
    // And the first stage is built alone, to be run before the others are built.
    assert_eq!(after(binaries[0], "--bin"), ["step1-sequential"]);
    assert_eq!(after(binaries[1], "--bin"), ["step2-thread-per-client"]);
}
