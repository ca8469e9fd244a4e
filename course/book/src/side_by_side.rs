//! Two neighbours in two columns, item by item, with what differs marked.

use std::ops::Range;

use anyhow::{Context, Result};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::contents::Pair;
use crate::items::{Code, Item};

/// The page's Markdown. `code_page` says where a file is shown alone.
pub(crate) fn page(
    pair: &Pair,
    before: &str,
    after: &str,
    link: impl Fn(&str) -> String,
) -> Result<String> {
    let old = Code::parse(before).with_context(|| pair.before.file)?;
    let new = Code::parse(after).with_context(|| pair.after.file)?;
    let mut sections = String::new();
    // As in the chapter's diff, which knows no functions: the last brace of one may be that of another.
    let (_, all) = rows(&old, 0..old.lines.len(), &new, 0..new.lines.len());
    for (left, right) in aligned(&old.items, &new.items) {
        let name = left.or(right).map_or("", |item| &item.name);
        let (rows, changed) = rows(&old, lines_of(&old, left), &new, lines_of(&new, right));
        let state = match (left, right, changed) {
            (Some(_), None, _) => format!("only in {}", pair.before.name),
            (None, Some(_), _) => format!("only in {}", pair.after.name),
            (_, _, 0) if rows.contains("row change") => "only comments differ".to_owned(),
            (_, _, 0) => "the same".to_owned(),
            (_, _, 1) => "1 line of code differs".to_owned(),
            (_, _, n) => format!("{n} lines of code differ"),
        };
        let name = if name.contains(' ') && !name.starts_with(char::is_uppercase) {
            format!("`{name}`")
        } else {
            name.to_owned()
        };
        sections.push_str(&format!("## {name}\n\n<p class=\"state\">{state}</p>\n\n{rows}\n\n"));
    }
    let chapters: Vec<String> = pair.chapters.iter().map(|file| link(file)).collect();
    Ok(format!(
        "# {} and {}, side by side\n\n\
         {all} lines of code differ, comments and indentation aside. A line with `−` is only in {}; a line with `+` is only in \
         {}. The files: {} and {}. The text: {}.\n\n\
         <div class=\"beside names\"><div class=\"row\"><div class=\"old\">{}</div><div class=\"new\">{}</div></div></div>\n\n\
         {sections}",
        capitalised(pair.before.name),
        pair.after.name,
        pair.before.name,
        pair.after.name,
        link(pair.before.file),
        link(pair.after.file),
        chapters.join(", "),
        pair.before.name,
        pair.after.name,
    ))
}

fn capitalised(name: &str) -> String {
    match name.strip_prefix("step") {
        Some(rest) => format!("Step{rest}"),
        None => name.to_owned(),
    }
}

/// Puts items of the same name side by side, and each other one alone, in the order of the files.
fn aligned<'a>(old: &'a [Item], new: &'a [Item]) -> Vec<(Option<&'a Item>, Option<&'a Item>)> {
    let names = |items: &'a [Item]| items.iter().map(|item| item.name.as_str()).collect::<Vec<_>>();
    let mut pairs = Vec::new();
    for change in capture_diff_slices(Algorithm::Myers, &names(old), &names(new)) {
        let (left, right) = (&old[change.old_range()], &new[change.new_range()]);
        if matches!(change, DiffOp::Equal { .. }) {
            pairs.extend(left.iter().zip(right).map(|(left, right)| (Some(left), Some(right))));
        } else {
            pairs.extend(left.iter().map(|left| (Some(left), None)));
            pairs.extend(right.iter().map(|right| (None, Some(right))));
        }
    }
    pairs
}

/// An item's lines, without the blank ones around it.
fn lines_of(code: &Code, item: Option<&Item>) -> Range<usize> {
    let Some(item) = item else { return 0..0 };
    let mut lines = item.lines.clone();
    let is_blank = |line: usize| code.lines[line].trim().is_empty();
    while !lines.is_empty() && is_blank(lines.start) {
        lines.start += 1;
    }
    while !lines.is_empty() && is_blank(lines.end - 1) {
        lines.end -= 1;
    }
    lines
}

/// A run of lines: the same in both files, or removed from the old and put into the new.
#[derive(Debug)]
struct Run {
    is_same: bool,
    old: Range<usize>,
    new: Range<usize>,
}

/// How the lines of one range become those of the other, indentation aside. Lines of code find their partners first, as in
/// the chapters' diffs; then the comments between them do.
fn runs(old: &Code, left: Range<usize>, new: &Code, right: Range<usize>) -> Vec<Run> {
    let codes = |code: &Code, lines: &Range<usize>| {
        lines.clone().filter(|&line| is_code(&code.lines[line])).collect::<Vec<_>>()
    };
    let trimmed = |code: &Code, lines: &[usize]| {
        lines.iter().map(|&line| code.lines[line].trim().to_owned()).collect::<Vec<_>>()
    };
    let all = |lines: Range<usize>| lines.collect::<Vec<_>>();
    let (old_codes, new_codes) = (codes(old, &left), codes(new, &right));
    let mut partners = Vec::new();
    let changes = (trimmed(old, &old_codes), trimmed(new, &new_codes));
    for change in capture_diff_slices(Algorithm::Myers, &changes.0, &changes.1) {
        if matches!(change, DiffOp::Equal { .. }) {
            partners.extend(change.old_range().zip(change.new_range()));
        }
    }
    let mut partners: Vec<_> =
        partners.into_iter().map(|(i, j)| (old_codes[i], new_codes[j], 1)).collect();
    partners.push((left.end, right.end, 0));

    let mut runs = Vec::new();
    let (mut from_old, mut from_new) = (left.start, right.start);
    for (to_old, to_new, length) in partners {
        let (gap_old, gap_new) = (all(from_old..to_old), all(from_new..to_new));
        let (old_lines, new_lines) = (trimmed(old, &gap_old), trimmed(new, &gap_new));
        for change in capture_diff_slices(Algorithm::Myers, &old_lines, &new_lines) {
            runs.push(Run {
                is_same: matches!(change, DiffOp::Equal { .. }),
                old: change.old_range().start + from_old..change.old_range().end + from_old,
                new: change.new_range().start + from_new..change.new_range().end + from_new,
            });
        }
        (from_old, from_new) = (to_old + length, to_new + length);
        runs.push(Run { is_same: true, old: to_old..from_old, new: to_new..from_new });
    }
    runs
}

fn is_code(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim().starts_with("//")
}

/// The rows of two items as HTML, and how many lines of code differ.
fn rows(old: &Code, left: Range<usize>, new: &Code, right: Range<usize>) -> (String, usize) {
    let mut html = String::from("<div class=\"beside\">\n");
    let mut changed = 0;
    for run in runs(old, left, new, right) {
        if run.is_same {
            // A row for each line: where the indentation differs, so does the fold. Both columns say the same, so one of
            // them is enough for those who listen.
            for (in_old, in_new) in run.old.zip(run.new) {
                html.push_str("<div class=\"row same\"><div class=\"old\" aria-hidden=\"true\">");
                html.push_str(&cell(old, in_old..in_old + 1, "span", " "));
                html.push_str("</div><div class=\"new\">");
                html.push_str(&cell(new, in_new..in_new + 1, "span", " "));
                html.push_str("</div></div>\n");
            }
        } else {
            let count = |code: &Code, lines: Range<usize>| {
                code.lines[lines].iter().filter(|line| is_code(line)).count()
            };
            changed += count(old, run.old.clone()) + count(new, run.new.clone());
            html.push_str("<div class=\"row change\"><div class=\"old\">");
            html.push_str(&cell(old, run.old, "del", "−"));
            html.push_str("</div><div class=\"new\">");
            html.push_str(&cell(new, run.new, "ins", "+"));
            html.push_str("</div></div>\n");
        }
    }
    html.push_str("</div>");
    (html, changed)
}

/// Lines with their numbers and signs. A long line is folded below its own indentation.
fn cell(code: &Code, lines: Range<usize>, element: &str, sign: &str) -> String {
    let mut html = String::new();
    for line in lines {
        let text = &code.lines[line];
        let indent = text.len() - text.trim_start().len();
        html.push_str(&format!(
            "<{element} class=\"line\"><span class=\"number\">{}</span><span class=\"sign\">{sign}</span>\
             <span class=\"text\" style=\"--indent: {indent}\">{}</span></{element}>",
            line + 1,
            // The style sheet indents: blanks before a long word would leave its first line empty.
            without_indent(&code.html[line]),
        ));
    }
    html
}

/// A line's HTML without the blanks at its beginning, which may stand in the first span.
fn without_indent(html: &str) -> String {
    let html = html.trim_start();
    match html.split_once('>') {
        Some((span, rest)) if span.starts_with("<span") => format!("{span}>{}", rest.trim_start()),
        _ => html.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Code {
        Code::parse(text).expect("Rust")
    }

    #[test]
    fn functions_of_the_same_name_stand_side_by_side() {
        let old = code("fn a() {}\nfn gone() {}\nfn b() {}\n");
        let new = code("fn a() {}\nasync fn b() {}\nfn come() {}\n");
        let names: Vec<_> = aligned(&old.items, &new.items)
            .into_iter()
            .map(|(left, right)| [left, right].map(|item| item.map(|item| item.name.as_str())))
            .collect();
        assert_eq!(
            names,
            [
                [Some("fn a"), Some("fn a")],
                [Some("fn gone"), None],
                [Some("fn b"), Some("fn b")],
                [None, Some("fn come")],
            ]
        );
    }

    #[test]
    fn what_differs_is_marked_and_counted_and_indentation_is_not() {
        let old = code("fn a() {\n    one();\n    // why\n    two();\n}\n");
        let new = code("fn a() {\n        one();\n    // because\n    three();\n}\n");
        let (html, changed) = rows(&old, 0..5, &new, 0..5);
        assert_eq!(changed, 2);
        assert_eq!(html.matches("<del").count(), 2);
        assert_eq!(html.matches("<ins").count(), 2);
    }
}
