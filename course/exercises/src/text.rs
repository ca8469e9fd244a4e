//! The text of an exercise: `exercise.md` in its folder.
//!
//! The first line is `# ` and the title. Lines of `key: value` follow, then the task. Each hint is a section `## Hint`.

use std::fs;
use std::io;

use crate::Exercise;

/// An exercise as its reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// A line.
    pub title: String,
    /// The chapter that it belongs to: a folder of the course.
    pub chapter: String,
    /// One to three: minutes, an hour, an evening.
    pub stars: usize,
    /// What is to be done, in Markdown.
    pub task: String,
    /// Each says more than the one before.
    pub hints: Vec<String>,
}

/// Reads it.
///
/// # Errors
/// The file cannot be read, or lacks a part.
pub fn read(exercise: &Exercise) -> io::Result<Text> {
    let path = exercise.folder().join("exercise.md");
    let text = fs::read_to_string(&path)
        .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
    let lacks = |what| move || io::Error::other(format!("{}: it has no {what}", exercise.name));
    let mut sections = text.split("\n## Hint\n");
    let first = sections.next().unwrap_or_default();
    let mut lines = first.lines();
    let title = lines.next().and_then(|line| line.strip_prefix("# ")).ok_or_else(lacks("title"))?;
    let value = |key: &str| {
        let line = first.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        line.map(|value| value.trim().to_owned())
    };
    let task = first.split_once("\n\n").and_then(|(_, rest)| rest.split_once("\n\n"));
    Ok(Text {
        title: title.to_owned(),
        chapter: value("chapter").ok_or_else(lacks("chapter"))?,
        stars: value("stars").ok_or_else(lacks("stars"))?.len(),
        task: task.ok_or_else(lacks("task"))?.1.trim().to_owned(),
        hints: sections.map(|hint| hint.trim().to_owned()).collect(),
    })
}
