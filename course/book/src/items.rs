//! A Rust file, cut into its top-level items, and its lines with their colours.

use std::ops::Range;

use anyhow::{Result, anyhow};
use mdbook_core::utils::escape_html;
use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};

/// A part of a file: an item with the comments above it, or all imports together.
#[derive(Debug)]
pub(crate) struct Item {
    /// What it is called. Items with the same name stand side by side.
    pub(crate) name: String,
    /// Its lines, counted from zero.
    pub(crate) lines: Range<usize>,
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Code {
    /// Its lines as they are.
    pub(crate) lines: Vec<String>,
    /// Its lines as HTML, with colours.
    pub(crate) html: Vec<String>,
    /// Its items, in order; together they are all lines.
    pub(crate) items: Vec<Item>,
}

/// The parts that have no name of their own.
pub(crate) const HEADER: &str = "What the file says of itself";
/// All `use` and `mod` lines that follow one another.
pub(crate) const IMPORTS: &str = "Imports";

impl Code {
    /// Reads a file.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let tokens: TokenStream =
            text.parse().map_err(|error| anyhow!("this is not Rust: {error}"))?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut colours: Vec<Vec<Colour>> =
            lines.iter().map(|line| vec![Colour::Unknown; line.chars().count()]).collect();
        colour(tokens.clone(), &mut colours);
        let html = lines.iter().zip(&colours).map(|(line, colours)| html(line, colours)).collect();
        let items = items(tokens, lines.len());
        Ok(Self { lines, html, items })
    }
}

/// Cuts the tokens of a file where an item ends: at a `;`, or at a block that no `;` follows.
fn items(tokens: TokenStream, end_of_file: usize) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut begin = 0;
    let mut idents: Vec<String> = Vec::new();
    let mut is_named = false;
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let mut end = None;
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                // An attribute; with `!` it is the file's own.
                let inner = tokens
                    .next_if(|next| matches!(next, TokenTree::Punct(next) if next.as_char() == '!'))
                    .is_some();
                let group = tokens.next();
                if inner {
                    idents = vec![HEADER.to_owned()];
                    end = group.map(|group| group.span());
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => end = Some(punct.span()),
            TokenTree::Punct(punct) if "=<:".contains(punct.as_char()) => {
                is_named |= idents.first().is_none_or(|first| first != "impl");
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let more = tokens.peek();
                if !matches!(more, Some(TokenTree::Punct(next)) if next.as_char() == ';') {
                    end = Some(group.span());
                }
            }
            TokenTree::Group(_) => is_named |= idents.iter().any(|ident| ident == "fn"),
            TokenTree::Ident(ident) if !is_named => idents.push(ident.to_string()),
            _ => {}
        }
        if let Some(span) = end {
            let name = name(&idents);
            let end = last_line(span);
            match items.last_mut() {
                Some(last) if last.name == name && [HEADER, IMPORTS].contains(&name.as_str()) => {
                    last.lines.end = end;
                }
                _ => items.push(Item { name, lines: begin..end }),
            }
            begin = end;
            idents.clear();
            is_named = false;
        }
    }
    // Comments may follow the last item.
    if let Some(last) = items.last_mut() {
        last.lines.end = end_of_file;
    }
    items
}

/// The line after a span's last, counted from zero.
fn last_line(span: Span) -> usize {
    let end = span.end();
    // The span of a doc comment ends where the next line begins.
    if end.column == 0 { end.line - 1 } else { end.line }
}

/// What an item is called, whether it is public, async or neither.
fn name(idents: &[String]) -> String {
    let words: Vec<&str> = idents
        .iter()
        .map(String::as_str)
        .skip_while(|word| ["pub", "async", "unsafe"].contains(word))
        .collect();
    match words.as_slice() {
        ["use" | "mod", ..] => IMPORTS.to_owned(),
        ["impl", ..] => words.join(" "),
        [keyword, name, ..] => format!("{keyword} {name}"),
        _ => words.join(" "),
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Colour {
    /// No token: blank, or a comment.
    Unknown,
    Plain,
    Comment,
    Keyword,
    Number,
    String,
    Title,
    Type,
}

impl Colour {
    /// highlight.js's class, so that both themes have a colour for it.
    fn class(self) -> Option<&'static str> {
        match self {
            Self::Unknown | Self::Plain => None,
            Self::Comment => Some("hljs-comment"),
            Self::Keyword => Some("hljs-keyword"),
            Self::Number => Some("hljs-number"),
            Self::String => Some("hljs-string"),
            Self::Title => Some("hljs-title"),
            Self::Type => Some("hljs-type"),
        }
    }
}

const KEYWORDS: &str = " as async await break const continue crate dyn else enum extern false fn for if impl in let loop \
    match mod move mut pub ref return self Self static struct super trait true type unsafe use where while ";

fn colour(tokens: TokenStream, lines: &mut [Vec<Colour>]) {
    let mut is_fn_name = false;
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        match token {
            // A doc comment: every token of the attribute that it stands for has its place.
            TokenTree::Punct(punct) if punct.as_char() == '#' && is_long(punct.span()) => {
                paint(punct.span(), Colour::Comment, lines);
                let group = tokens.next();
                if matches!(group, Some(TokenTree::Punct(_))) {
                    tokens.next();
                }
            }
            TokenTree::Punct(punct) => paint(punct.span(), Colour::Plain, lines),
            TokenTree::Group(group) => {
                paint(group.span_open(), Colour::Plain, lines);
                colour(group.stream(), lines);
                paint(group.span_close(), Colour::Plain, lines);
            }
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                let is_number = text.starts_with(|c: char| c.is_ascii_digit());
                let colour = if is_number { Colour::Number } else { Colour::String };
                paint(literal.span(), colour, lines);
            }
            TokenTree::Ident(ident) => {
                let text = ident.to_string();
                let colour = if KEYWORDS.contains(&format!(" {text} ")) {
                    Colour::Keyword
                } else if std::mem::take(&mut is_fn_name) {
                    Colour::Title
                } else if text.starts_with(|c: char| c.is_ascii_uppercase()) {
                    Colour::Type
                } else {
                    Colour::Plain
                };
                is_fn_name = text == "fn";
                paint(ident.span(), colour, lines);
            }
        }
    }
}

/// Whether a span is longer than one character.
fn is_long(span: Span) -> bool {
    span.start().line != span.end().line || span.end().column > span.start().column + 1
}

fn paint(span: Span, colour: Colour, lines: &mut [Vec<Colour>]) {
    let (start, end) = (span.start(), span.end());
    for number in start.line..=end.line {
        let Some(line) = lines.get_mut(number - 1) else { continue };
        let from = if number == start.line { start.column.min(line.len()) } else { 0 };
        let to = if number == end.line { end.column.min(line.len()) } else { line.len() };
        line[from..to].fill(colour);
    }
}

/// A line with a span around each run of a colour.
fn html(line: &str, colours: &[Colour]) -> String {
    let mut html = String::new();
    let mut run = String::new();
    let mut of_run = None;
    let mut close = |run: &mut String, class: Option<&str>| {
        let text = escape_html(run).into_owned();
        match class {
            Some(class) if !run.is_empty() => {
                html.push_str(&format!(r#"<span class="{class}">{text}</span>"#));
            }
            _ => html.push_str(&text),
        }
        run.clear();
    };
    for (character, colour) in line.chars().zip(colours) {
        // What is no token and not blank is a comment. A blank goes on with the run before it.
        let class = match colour {
            Colour::Unknown if character.is_whitespace() => of_run,
            Colour::Unknown => Colour::Comment.class(),
            known => known.class(),
        };
        if class != of_run {
            close(&mut run, of_run);
            of_run = class;
        }
        run.push(character);
    }
    close(&mut run, of_run);
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "//! A file.\n//! Two lines.\n\nuse a::{b, c};\nuse d;\n\n// About X.\nconst X: [u8; 2] = [1, 2];\n\n\
        /// Documented.\n#[derive(Debug)]\nstruct S {\n    a: u8,\n}\n\nimpl S {\n    fn f() {}\n}\n\n\
        pub async fn main() -> u8 {\n    \"text\"; // note\n    1\n}\n";

    #[test]
    fn a_file_is_cut_into_its_items() {
        let code = Code::parse(FILE).expect("Rust");
        let names: Vec<_> = code.items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, [HEADER, IMPORTS, "const X", "struct S", "impl S", "fn main"]);
        let mut next = 0;
        for item in &code.items {
            assert_eq!(item.lines.start, next, "{}", item.name);
            next = item.lines.end;
        }
        assert_eq!(next, code.lines.len());
        assert_eq!(code.items[1].lines, 2..5);
    }

    #[test]
    fn lines_have_colours() {
        let code = Code::parse(FILE).expect("Rust");
        assert_eq!(code.html[0], r#"<span class="hljs-comment">//! A file.</span>"#);
        assert!(code.html[3].starts_with(r#"<span class="hljs-keyword">use </span>a::{b"#));
        assert!(code.html[20].contains(r#"hljs-string">"text"</span>;"#), "{}", code.html[20]);
        assert!(code.html[20].ends_with(r#"hljs-comment">// note</span>"#), "{}", code.html[20]);
    }

    #[test]
    fn what_is_not_rust_is_an_error() {
        assert!(Code::parse("fn {").is_err());
    }
}
