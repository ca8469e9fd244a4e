//! Neighbouring stages are read side by side, so what differs between them must be the lesson and little else.

use std::fs;
use std::path::Path;

use similar::{ChangeTag, TextDiff};

/// Two neighbours, and how many lines of code may differ: removed and added ones, each counted.
const BUDGETS: [(&str, &str, usize); 3] = [
    ("step1-sequential", "step2-thread-per-client", 25),
    ("step3-blocking", "step4-nonblocking-poll", 20),
    ("step5-select", "step6-epoll-kqueue", 70),
];

/// The stage's `main.rs` without what `diff -w` and a reader's eye pass over: indentation, blank lines, comments.
fn code_of(stage: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join(stage).join("src/main.rs");
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().map(str::trim);
    let code = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    code.map(|line| format!("{line}\n")).collect()
}

#[test]
fn neighbouring_stages_differ_by_no_more_than_their_budget() {
    let mut over = Vec::new();
    for (before, after, budget) in BUDGETS {
        let (old, new) = (code_of(before), code_of(after));
        let diff = TextDiff::from_lines(&old, &new);
        let is_change = |tag: ChangeTag| tag != ChangeTag::Equal;
        let changed = diff.iter_all_changes().filter(|change| is_change(change.tag())).count();
        println!("{before} to {after}: {changed} lines of {budget}");
        assert!(changed > 0, "{before} and {after} are the same");
        if changed > budget {
            over.push(format!(
                "{before} to {after}: {changed} lines differ, {budget} may\n{}",
                diff.unified_diff().context_radius(0)
            ));
        }
    }
    assert!(over.is_empty(), "{}", over.join("\n"));
}
