//! Neighbouring stages are read side by side, so what differs between them must be the lesson and little else, and the
//! later one's chapter must show it as it is.

use std::fs;
use std::path::{Path, PathBuf};

use similar::{ChangeTag, TextDiff};

/// Two neighbours, how many lines of code may differ (removed and added ones, each counted), and the chapter that shows it.
const NEIGHBOURS: [(&str, &str, usize, &str); 7] = [
    (
        "step1-sequential/src/main.rs",
        "step2-thread-per-client/src/main.rs",
        20,
        "step2-thread-per-client/README.md",
    ),
    (
        "step3-blocking/src/main.rs",
        "step4-nonblocking-poll/src/main.rs",
        20,
        "step4-nonblocking-poll/README.md",
    ),
    ("step5-select/src/main.rs", "step5-select/examples/poll.rs", 40, "step5-select/README.md"),
    (
        "step5-select/src/main.rs",
        "step6-epoll-kqueue/src/main.rs",
        50,
        "step6-epoll-kqueue/README.md",
    ),
    (
        "step6-epoll-kqueue/src/main.rs",
        "step6-epoll-kqueue/examples/edge.rs",
        25,
        "step6-epoll-kqueue/README.md",
    ),
    (
        "step1-sequential/src/main.rs",
        "labs/async-await/src/bin/async-echo.rs",
        30,
        "labs/async-await/README.md",
    ),
    (
        "labs/async-await/src/bin/async-echo.rs",
        "labs/async-await/src/bin/tokio-echo/main.rs",
        30,
        "labs/async-await/README.md",
    ),
];

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The lines of a text, without blank lines and comments.
fn code_lines(text: &str) -> Vec<String> {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    text.lines().filter(is_code).map(str::to_owned).collect()
}

/// The lines that differ, indentation aside, as a diff shows them.
fn changes(before: &str, after: &str) -> Vec<String> {
    changed_lines(&code_lines(&read(before)), &code_lines(&read(after)))
}

fn changed_lines(old: &[String], new: &[String]) -> Vec<String> {
    let trimmed =
        |lines: &[String]| lines.iter().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    let (old_trimmed, new_trimmed) = (trimmed(old), trimmed(new));
    let old_trimmed: Vec<_> = old_trimmed.iter().map(String::as_str).collect();
    let new_trimmed: Vec<_> = new_trimmed.iter().map(String::as_str).collect();
    let diff = TextDiff::from_slices(&old_trimmed, &new_trimmed);
    let line = |change: similar::Change<&str>| match (
        change.tag(),
        change.old_index(),
        change.new_index(),
    ) {
        (ChangeTag::Delete, Some(index), _) => Some(format!("-{}", old[index])),
        (ChangeTag::Insert, _, Some(index)) => Some(format!("+{}", new[index])),
        _ => None,
    };
    diff.iter_all_changes().filter_map(line).collect()
}

#[test]
fn neighbouring_stages_differ_by_no_more_than_their_budget() {
    for (before, after, budget, _) in NEIGHBOURS {
        let changes = changes(before, after);
        println!("{before} to {after}: {} lines of {budget}", changes.len());
        assert!(!changes.is_empty(), "{before} and {after} are the same");
        assert!(
            changes.len() <= budget,
            "{before} to {after}: {} lines differ, {budget} may\n{}",
            changes.len(),
            changes.join("\n")
        );
    }
}

/// The conversation with one peer, to the end of the file.
fn conversation(file: &str) -> String {
    let text = read(file);
    let start = text.find("/// The conversation with one peer").expect("there is one");
    text[start..].to_owned()
}

/// The conversation is what does not change from step 1 to step 2.
#[test]
fn steps_1_and_2_have_the_same_conversation_word_for_word() {
    let [first, second] = ["step1-sequential", "step2-thread-per-client"]
        .map(|stage| conversation(&format!("{stage}/src/main.rs")));
    assert_eq!(first, second);
}

/// With `async` it changes by little: that is the lab's picture.
#[test]
fn the_conversation_of_step_1_is_that_of_async_echo_but_for_15_lines() {
    let [sequential, asynchronous] =
        ["step1-sequential/src/main.rs", "labs/async-await/src/bin/async-echo.rs"]
            .map(|file| code_lines(&conversation(file)));
    let changes = changed_lines(&sequential, &asynchronous);
    println!("{} lines of 15", changes.len());
    assert!((1..=15).contains(&changes.len()), "{}", changes.join("\n"));
}

/// The lab's state machines are two ways to write the server's own conversation.
#[test]
fn the_state_machine_that_the_compiler_makes_is_the_servers() {
    let server = conversation("labs/async-await/src/bin/async-echo.rs");
    let example = conversation("labs/async-await/examples/state-machine/by_the_compiler.rs");
    assert_eq!(example.replace("pub(crate) async fn", "async fn"), server);
}

/// Readable in an hour.
#[test]
fn the_executor_of_the_async_lab_is_at_most_600_lines() {
    let folder = path("labs/async-await/src");
    let mut all = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.lines().count() <= 200, "{}", path.display());
            all += code_lines(&text).len();
        }
    }
    println!("{all} lines of code of 600");
    assert!((1..=600).contains(&all), "{all} lines of code");
}

/// `UPDATE_CHAPTERS=1 cargo test -p server --test neighbours` puts the diffs in. Each follows a line that names both files.
#[test]
fn the_chapters_show_the_diffs_as_they_are() {
    for (before, after, _, readme) in NEIGHBOURS {
        let chapter = read(readme);
        let command = format!("git diff --no-index -w {before} {after}");
        let named = chapter.find(&command).unwrap_or_else(|| panic!("{readme}: no `{command}`"));
        let fence = "```diff\n";
        let begin = chapter[named..].find(fence).expect("the chapter shows a diff");
        let begin = named + begin + fence.len();
        let end = begin + chapter[begin..].find("```").expect("the diff has an end");
        let diff = changes(before, after).join("\n") + "\n";
        if std::env::var_os("UPDATE_CHAPTERS").is_some() {
            fs::write(path(readme), [&chapter[..begin], &diff, &chapter[end..]].concat()).unwrap();
        } else {
            assert_eq!(chapter[begin..end], diff, "{readme}");
        }
    }
}
