//! Neighbouring stages are read side by side, so what differs between them must be the lesson and little else, and the
//! later one's chapter must show it as it is.

use std::fs;
use std::path::{Path, PathBuf};

use similar::{ChangeTag, TextDiff};

/// Two neighbours, and how many lines of code may differ: removed and added ones, each counted.
const BUDGETS: [(&str, &str, usize); 3] = [
    ("step1-sequential", "step2-thread-per-client", 25),
    ("step3-blocking", "step4-nonblocking-poll", 20),
    ("step5-select", "step6-epoll-kqueue", 70),
];

fn in_stage(stage: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(stage).join(file)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of the stage's `main.rs`, without blank lines and comments.
fn code_of(stage: &str) -> Vec<String> {
    let text = read(&in_stage(stage, "src/main.rs"));
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    text.lines().filter(is_code).map(str::to_owned).collect()
}

/// The lines that differ, indentation aside, as a diff shows them.
fn changes(before: &str, after: &str) -> Vec<String> {
    let (old, new) = (code_of(before), code_of(after));
    let trimmed =
        |lines: &[String]| lines.iter().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    let (old_trimmed, new_trimmed) = (trimmed(&old), trimmed(&new));
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
    for (before, after, budget) in BUDGETS {
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

/// `UPDATE_CHAPTERS=1 cargo test -p server --test neighbours` puts the diffs in.
#[test]
fn the_chapters_show_the_diffs_as_they_are() {
    for (before, after, _) in BUDGETS {
        let path = in_stage(after, "README.md");
        let chapter = read(&path);
        let begin =
            chapter.find("```diff\n").expect("the chapter shows a diff") + "```diff\n".len();
        let end = begin + chapter[begin..].find("```").expect("the diff has an end");
        let diff = changes(before, after).join("\n") + "\n";
        if std::env::var_os("UPDATE_CHAPTERS").is_some() {
            fs::write(&path, [&chapter[..begin], &diff, &chapter[end..]].concat()).unwrap();
        } else {
            assert_eq!(chapter[begin..end], diff, "{}", path.display());
        }
    }
}
