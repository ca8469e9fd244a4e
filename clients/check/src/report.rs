//! What is said of each case, for a reader, as JSON and as JUnit's XML, and the last line.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use check::{Case, cases};
use client::so_far;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use serde_json::json;

/// What came of a case.
pub(crate) enum Outcome {
    Passed,
    /// What was wrong: a line, and perhaps more of them.
    Failed(String),
    /// Why it was not run.
    Skipped(String),
}

struct Entry {
    case: &'static Case,
    outcome: Outcome,
    took: Duration,
}

/// All that has been found so far.
pub(crate) struct Report {
    json: bool,
    junit: Option<PathBuf>,
    selected: usize,
    entries: Vec<Entry>,
}

impl Report {
    pub(crate) fn new(json: bool, junit: Option<PathBuf>, selected: usize) -> io::Result<Self> {
        let report = Report { json, junit, selected, entries: Vec::new() };
        report.write_junit()?; // to find out now that it cannot be written
        Ok(report)
    }

    /// Before a case is run: what is to be said if we are stopped meanwhile.
    pub(crate) fn begins(&self, case: &Case) {
        if !self.json {
            let left = self.selected - self.entries.len();
            so_far::keep(format!("{}, {left} not run: stopped in {}\n", self.counts(), case.name));
        }
    }

    pub(crate) fn add(
        &mut self,
        case: &'static Case,
        outcome: Outcome,
        took: Duration,
    ) -> io::Result<()> {
        let entry = Entry { case, outcome, took };
        let text = if self.json { entry.json() } else { entry.text() };
        self.entries.push(entry);
        if !text.is_empty() {
            print(&text)?;
        }
        // After each case, so that the file is complete whenever we are stopped.
        self.write_junit()
    }

    pub(crate) fn count(&self, is_it: fn(&Outcome) -> bool) -> usize {
        self.entries.iter().filter(|entry| is_it(&entry.outcome)).count()
    }

    pub(crate) fn failed(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    fn counts(&self) -> String {
        let passed = self.count(|outcome| matches!(outcome, Outcome::Passed));
        let skipped = self.count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        format!("{passed} passed, {} failed, {skipped} skipped", self.failed())
    }

    /// The last line: how many, and which were left out for what reason.
    pub(crate) fn end(&self) -> io::Result<()> {
        so_far::complete(|| if self.json { Ok(()) } else { print(&wrapped(&self.summary(), 0)) })
    }

    fn summary(&self) -> String {
        let mut reasons: Vec<(&str, Vec<&'static Case>)> = Vec::new();
        for entry in &self.entries {
            let Outcome::Skipped(reason) = &entry.outcome else { continue };
            match reasons.iter_mut().find(|(known, _)| known == reason) {
                Some((_, cases)) => cases.push(entry.case),
                None => reasons.push((reason, vec![entry.case])),
            }
        }
        let reasons: Vec<_> =
            reasons.iter().map(|(reason, cases)| format!("{reason}: {}", names(cases))).collect();
        let colon = if reasons.is_empty() { "" } else { ": " };
        format!("{}{colon}{}", self.counts(), reasons.join("; "))
    }

    fn write_junit(&self) -> io::Result<()> {
        let Some(path) = &self.junit else { return Ok(()) };
        let written = self.junit().and_then(|text| fs::write(path, text));
        written.map_err(|error| {
            let text = client::describe(&error);
            io::Error::new(error.kind(), format!("cannot write {}: {text}", path.display()))
        })
    }

    /// The elements that every reader of JUnit's format knows.
    fn junit(&self) -> io::Result<Vec<u8>> {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let skipped = self.count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        let took: Duration = self.entries.iter().map(|entry| entry.took).sum();
        let (tests, failures) = (self.entries.len().to_string(), self.failed().to_string());
        let (skipped, took) = (skipped.to_string(), seconds(took));
        let counts = [
            ("name", "check"),
            ("tests", &tests),
            ("failures", &failures),
            ("errors", "0"),
            ("skipped", &skipped),
            ("time", &took),
        ];
        let suites = writer.create_element("testsuites").with_attributes(counts);
        suites.write_inner_content(|writer| {
            let suite = writer.create_element("testsuite").with_attributes(counts);
            suite.write_inner_content(|writer| {
                self.entries.iter().try_for_each(|entry| entry.junit(writer))
            })?;
            Ok(())
        })?;
        let mut text = writer.into_inner();
        text.push(b'\n');
        Ok(text)
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// The cases' names; one name for a group of which all are there.
fn names(some: &[&'static Case]) -> String {
    let mut names: Vec<String> = Vec::new();
    for case in some {
        let is_whole = |case: &Case| {
            let of_group = |other: &&Case| other.promise == case.promise;
            cases().iter().filter(of_group).count()
                == some.iter().filter(|other| other.promise == case.promise).count()
        };
        let name =
            if is_whole(case) { format!("{:?}", case.promise) } else { case.name.to_owned() };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

impl Entry {
    fn word(&self) -> &'static str {
        match self.outcome {
            Outcome::Passed => "ok",
            Outcome::Failed(_) => "FAILED",
            Outcome::Skipped(_) => "skipped",
        }
    }

    /// A line, and below a failure what is known of it. Nothing for what was not run: the last line tells that.
    fn text(&self) -> String {
        const INDENT: usize = 8;
        let Case { name, about, .. } = self.case;
        let line = wrapped(&format!("{:7} {name:26} {about}", self.word()), 7 + 1 + 26 + 1);
        match &self.outcome {
            Outcome::Passed => line,
            Outcome::Skipped(_) => String::new(),
            Outcome::Failed(failure) => {
                let hint = format!("hint      {}", self.case.hint(failure));
                let mut text = line;
                for (number, line) in failure.lines().chain([&*hint]).enumerate() {
                    // The first says what is wrong; the others have a word for what they are.
                    let further = if number == 0 { 0 } else { 10 };
                    let line = format!("{:INDENT$}{line}", "");
                    text.push_str(&format!("\n{}", wrapped(&line, INDENT + further)));
                }
                text
            }
        }
    }

    fn json(&self) -> String {
        let (failure, obstacle) = match &self.outcome {
            Outcome::Passed => (None, None),
            Outcome::Failed(failure) => (Some(failure), None),
            Outcome::Skipped(reason) => (None, Some(reason)),
        };
        let hint = failure.map(|failure| self.case.hint(failure));
        json!({
            "case": self.case.name,
            "promise": format!("{:?}", self.case.promise),
            "about": self.case.about,
            "outcome": self.word(),
            "failure": failure,
            "hint": hint,
            "obstacle": obstacle,
            "seconds": self.took.as_secs_f64(),
        })
        .to_string()
    }

    fn junit(&self, writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
        let (promise, took) = (format!("{:?}", self.case.promise), seconds(self.took));
        let case = writer.create_element("testcase").with_attributes([
            ("classname", &*promise),
            ("name", self.case.name),
            ("time", &took),
        ]);
        match &self.outcome {
            Outcome::Passed => case.write_empty()?,
            Outcome::Failed(failure) => case.write_inner_content(|writer| {
                let text = printable(&format!("{failure}\nhint      {}", self.case.hint(failure)));
                let first = text.lines().next().unwrap_or_default();
                writer
                    .create_element("failure")
                    .with_attribute(("message", first))
                    .write_text_content(BytesText::new(&text))?;
                Ok(())
            })?,
            Outcome::Skipped(reason) => case.write_inner_content(|writer| {
                writer
                    .create_element("skipped")
                    .with_attribute(("message", &**reason))
                    .write_empty()?;
                Ok(())
            })?,
        };
        Ok(())
    }
}

/// XML has no character at all for most control characters, and a server's log may have colours.
fn printable(text: &str) -> String {
    let mut printable = String::new();
    for character in text.chars() {
        match character {
            '\n' => printable.push('\n'),
            '\u{fffe}' | '\u{ffff}' => printable.extend(character.escape_unicode()),
            _ if character.is_control() => printable.extend(character.escape_default()),
            _ => printable.push(character),
        }
    }
    printable
}

/// As it is, or at a terminal as wide as that, with what does not fit on further lines below.
pub(crate) fn wrapped(line: &str, indent: usize) -> String {
    /// A narrower terminal has to wrap by itself.
    const LEAST: usize = 20;
    /// What a terminal has that does not say.
    const USUAL: usize = 80;
    let usual = || io::stdout().is_terminal().then_some(USUAL);
    let Some(columns) = client::columns().or_else(usual) else { return line.to_owned() };
    let indent = " ".repeat(indent);
    let width = columns.max(indent.len() + LEAST);
    textwrap::fill(line, textwrap::Options::new(width).subsequent_indent(&indent))
}

/// Prints a line. If the reader has left, the exit code still tells what holds.
pub(crate) fn print(line: &str) -> io::Result<()> {
    client::printed(writeln!(io::stdout(), "{line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_has_no_control_characters() {
        assert_eq!(printable("a\n\x1b[1mb\0\u{ffff}ü"), "a\n\\u{1b}[1mb\\u{0}\\u{ffff}ü");
    }

    #[test]
    fn a_group_that_is_left_out_as_a_whole_has_one_name() {
        let some: Vec<_> = cases()
            .iter()
            .filter(|case| matches!(case.name, "stats" | "sigterm-counted" | "ipv6"))
            .collect();
        assert_eq!(names(&some), "ipv6, stats, sigterm-counted");
        let most: Vec<_> = cases().iter().filter(|case| !case.promise.is_core()).collect();
        assert_eq!(names(&most), "Descriptors, Limits, Arguments, Statistics");
    }
}
