//! The exercises hang together, and the command does what it says. Whether each solution is right, `cargo exercise verify`
//! tests, which takes minutes.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use exercises::{Exercise, copy, exercises, root, solve, text};

#[test]
fn each_has_a_text_hints_and_a_place_in_its_chapter() {
    let mut firsts = HashMap::new();
    for exercise in exercises() {
        let text = text::read(exercise).unwrap();
        assert!(text.hints.len() >= 2, "{} has {} hints", exercise.name, text.hints.len());
        assert!((1..=3).contains(&text.stars), "{}", exercise.name);
        assert!(!text.task.is_empty() && !text.title.is_empty(), "{}", exercise.name);
        *firsts.entry(text.chapter.clone()).or_insert(0) += usize::from(exercise.first);
        if !exercise.name.starts_with("museum") {
            let chapter = fs::read_to_string(root().join(&text.chapter).join("README.md")).unwrap();
            let command = format!("cargo exercise start {}", exercise.name);
            let chapter = chapter.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(chapter.contains(&command), "{} does not say `{command}`", text.chapter);
        }
    }
    for (chapter, first) in firsts {
        assert_eq!(first, 1, "{chapter}: exercises that are the one to do");
    }
}

#[test]
fn each_solution_can_be_applied_to_what_one_begins_with() {
    let folder = tempfile::tempdir().unwrap();
    for exercise in exercises() {
        let copy = folder.path().join(exercise.name);
        copy::make(exercise, &copy).unwrap();
        solve(exercise, &copy).unwrap_or_else(|error| panic!("{}: {error}", exercise.name));
    }
}

fn exercise(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exercise"));
    command.arg("--folder").arg(folder).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn from_start_to_done() {
    let name = "step2-small-stacks";
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let started = exercise(folder, &["start", name]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    assert!(stdout(&started).contains(&format!("cargo exercise check {name}")));
    assert_eq!(exercise(folder, &["start", name]).status.code(), Some(1), "it is there already");

    let checked = exercise(folder, &["check", name]);
    let said = stdout(&checked);
    assert_eq!(checked.status.code(), Some(1), "{said}");
    assert!(said.starts_with(&format!("not yet  {name}: ")), "{said}");

    assert!(stdout(&exercise(folder, &["hint", name])).starts_with("Hint 1 of 2\n"));
    assert!(stdout(&exercise(folder, &["hint", name])).starts_with("Hint 2 of 2\n"));
    assert!(stdout(&exercise(folder, &["hint", name])).contains("solution"));

    solve(Exercise::named(name).unwrap(), &folder.join(name)).unwrap();
    let checked = exercise(folder, &["check"]);
    assert_eq!(stdout(&checked), format!("done     {name}\n"));
    assert!(checked.status.success());
    let listed = stdout(&exercise(folder, &["list"]));
    let line = listed.lines().find(|line| line.contains(name)).unwrap();
    assert!(line.contains(" done "), "{line}");
}

#[test]
fn a_copy_that_does_not_build_is_not_yet_done() {
    let name = "step2-small-stacks";
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join(name);
    copy::make(Exercise::named(name).unwrap(), &copy).unwrap();
    fs::write(copy.join("src/main.rs"), "fn main() { nonsense }").unwrap();
    let checked = exercise(folder.path(), &["check", name]);
    assert_eq!(stdout(&checked), format!("not yet  {name}: it does not build\n"));
    assert!(String::from_utf8_lossy(&checked.stderr).contains("nonsense"), "cargo says why");
}

#[test]
fn what_does_not_exist_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in
        [&["start", "step9"][..], &["hint", "nonsense"], &["check"], &["check", "step4-adaptive"]]
    {
        let output = exercise(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    }
    let known = exercise(folder.path(), &["start", "step4"]);
    assert!(String::from_utf8_lossy(&known.stderr).contains("there is step4-"));
}
