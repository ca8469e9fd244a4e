//! The glossary's words, and where a text uses them for the first time.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use mdbook_core::utils::{escape_html, escape_html_attribute};
use mdbook_markdown::new_cmark_parser;
use mdbook_markdown::pulldown_cmark::{Event, TagEnd};
use regex::Regex;

use crate::contents::Knows;
use crate::markdown::markdown_options;

/// A row of the glossary.
#[derive(Debug)]
struct Row {
    words: Vec<String>,
    meaning: String,
    /// Where the word is met first: steps by number, labs by name.
    met: Vec<String>,
}

/// The words and what they mean.
#[derive(Debug)]
pub(crate) struct Glossary {
    rows: Vec<Row>,
}

/// Words of the glossary that mean something else in these phrases.
const OTHER_MEANINGS: &[&str] =
    &["closed loop", "in turn", "(?:its|their|his) turns?", "resets? (?:it|the)"];

/// Common words, which mean what the glossary says only in the chapter of their own step.
const COMMON: &[&str] = &["handle", "request", "state", "turn"];

impl Glossary {
    /// Reads the table in the glossary's Markdown.
    pub(crate) fn parse(markdown: &str) -> Result<Self> {
        let mut rows = Vec::new();
        let mut cells = Vec::new();
        let mut cell = String::new();
        for event in new_cmark_parser(markdown, &markdown_options()) {
            match event {
                Event::Text(text) | Event::Code(text) => cell.push_str(&text),
                Event::SoftBreak => cell.push(' '),
                Event::End(TagEnd::TableCell) => cells.push(std::mem::take(&mut cell)),
                Event::End(TagEnd::TableHead) => cells.clear(),
                Event::End(TagEnd::TableRow) => {
                    let row: [String; 3] = std::mem::take(&mut cells)
                        .try_into()
                        .ok()
                        .context("the glossary has a row without three cells")?;
                    let [words, meaning, met] = row;
                    let list =
                        |text: String| text.split(',').map(|w| w.trim().to_owned()).collect();
                    rows.push(Row { words: list(words), meaning, met: list(met) });
                }
                Event::End(_) => cell.clear(),
                _ => {}
            }
        }
        ensure!(!rows.is_empty(), "the glossary has no table");
        Ok(Self { rows })
    }

    /// What is needed to find the words that a page knows, each once.
    pub(crate) fn finder(&self, knows: Knows) -> Result<Finder<'_>> {
        let is_known = |row: &&Row, word: &str| {
            let is_common = COMMON.contains(&word);
            row.met.iter().any(|met| match (met.parse::<u32>(), knows) {
                (Ok(step), Knows::Step(last)) if is_common => step == last,
                (Ok(step), Knows::Step(last)) => step <= last,
                (Ok(_), Knows::All | Knows::Lab(_)) => !is_common,
                (Err(_), Knows::Lab(lab)) => met == lab,
                (Err(_), _) => false,
            })
        };
        let rows: Vec<&Row> = self.rows.iter().collect();
        let words = rows.iter().flat_map(|row| row.words.iter().map(move |word| (row, word)));
        let mut words: Vec<&str> = words
            .filter(|(row, word)| is_known(row, word))
            .map(|(_, word)| word.as_str())
            .collect();
        // Of two words that begin at the same place the longer one is meant.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        let words: Vec<String> = words.iter().map(|word| regex::escape(word)).collect();
        let phrases = OTHER_MEANINGS.join("|");
        let pattern = format!(r"(?i)\b(?:{phrases})\b|\b({})(?:e?s)?\b", words.join("|"));
        let pattern = Regex::new(&pattern).context("the glossary's words")?;
        let any = !words.is_empty();
        Ok(Finder { seen: vec![false; rows.len()], rows, pattern, any })
    }
}

/// Finds the first use of each word on a page.
#[derive(Debug)]
pub(crate) struct Finder<'a> {
    rows: Vec<&'a Row>,
    seen: Vec<bool>,
    pattern: Regex,
    any: bool,
}

impl Finder<'_> {
    /// The words in `text` that were not on the page before, each with the HTML to put in its place.
    pub(crate) fn find(&mut self, text: &str) -> Vec<(Range<usize>, String)> {
        let mut found = Vec::new();
        if !self.any {
            return found;
        }
        for captures in self.pattern.captures_iter(text) {
            let (Some(whole), Some(word)) = (captures.get(0), captures.get(1)) else { continue };
            // Part of another word: "thundering-herd", "src/stream".
            let is_joint = |c: char| "-/_.".contains(c);
            let before = text[..whole.start()].chars().next_back();
            let mut after = text[whole.end()..].chars();
            let after = (after.next(), after.next());
            if before.is_some_and(is_joint)
                || matches!(after, (Some('-' | '/' | '_'), _))
                || matches!(after, (Some('.'), Some(next)) if next.is_alphanumeric())
            {
                continue;
            }
            let is_word = |known: &String| known.eq_ignore_ascii_case(word.as_str());
            let row = self.rows.iter().position(|row| row.words.iter().any(is_word));
            let Some(row) = row.filter(|&row| !self.seen[row]) else { continue };
            self.seen[row] = true;
            found.push((whole.range(), button(whole.as_str(), &self.rows[row].meaning)));
        }
        found
    }
}

/// A button: it can be tapped, and the keyboard reaches it. The script shows the meaning beside it.
fn button(word: &str, meaning: &str) -> String {
    format!(
        r#"<button type="button" class="word" data-means="{}">{}</button>"#,
        escape_html_attribute(meaning).replace('|', "&#124;"),
        escape_html(word)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "| word | means | step |\n|-|-|-|\n| peer | the `other` end | 1 |\n\
        | loop, turn | a round | 7 |\n| blocking | sleeps | 3 |\n| task | polled | async |\n| Slowloris | slow | 1 |\n";

    fn found(knows: Knows, text: &str) -> Vec<String> {
        let glossary = Glossary::parse(TABLE).expect("a glossary");
        let mut finder = glossary.finder(knows).expect("a finder");
        finder.find(text).into_iter().map(|(range, _)| text[range].to_owned()).collect()
    }

    #[test]
    fn a_word_is_found_once_and_in_the_plural() {
        assert_eq!(found(Knows::Step(1), "Peers, and another peer"), ["Peers"]);
        assert_eq!(found(Knows::Step(1), "*Slowloris*"), ["Slowloris"]);
    }

    #[test]
    fn a_word_of_a_later_step_or_of_a_lab_waits() {
        assert!(found(Knows::Step(3), "a task takes a turn of the loop").is_empty());
        assert_eq!(found(Knows::Lab("async"), "a task takes a turn"), ["task"]);
        assert_eq!(found(Knows::Step(7), "a task takes a turn"), ["turn"]);
    }

    #[test]
    fn part_of_another_word_is_none() {
        assert!(found(Knows::Step(7), "non-blocking, src/peer.rs, one in turn").is_empty());
    }

    #[test]
    fn the_meaning_is_plain_text() {
        let glossary = Glossary::parse(TABLE).expect("a glossary");
        let mut finder = glossary.finder(Knows::Step(1)).expect("a finder");
        assert!(finder.find("a peer")[0].1.contains("data-means=\"the other end\""));
    }
}
