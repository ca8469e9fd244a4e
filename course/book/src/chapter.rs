//! A README becomes a chapter: its links lead to pages, its pictures know both themes, the glossary's words explain
//! themselves. All else stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mdbook_core::utils::escape_html_attribute;
use mdbook_markdown::new_cmark_parser;
use mdbook_markdown::pulldown_cmark::{Event, HeadingLevel, Tag, TagEnd};

use crate::contents::{PAIRS, Page};
use crate::glossary::Glossary;
use crate::markdown::markdown_options;
use crate::paths::{page_of, relative, resolve};

/// What a chapter needs to know about the rest of the book.
#[derive(Debug)]
pub(crate) struct Library {
    /// The repository's folder.
    pub(crate) root: PathBuf,
    /// The page of each file that has one.
    pub(crate) pages: BTreeMap<String, String>,
    /// Where the repository can be browsed, for links to files that have no page.
    pub(crate) repository: Option<String>,
    /// The words that explain themselves.
    pub(crate) glossary: Glossary,
}

/// A chapter, and the pictures that it shows.
#[derive(Debug)]
pub(crate) struct Chapter {
    /// Its Markdown, ready for mdBook.
    pub(crate) markdown: String,
    /// Its pictures, as paths in the repository.
    pub(crate) pictures: BTreeSet<String>,
}

/// A link that is still open: where it begins, where its text ends so far, and where it leads.
struct OpenLink {
    start: usize,
    text_end: usize,
    destination: String,
}

impl Library {
    /// Makes the chapter of `page`, whose text is in `file`.
    pub(crate) fn chapter(&self, page: &Page, file: &str, source: &str) -> Result<Chapter> {
        let mut words = self.glossary.finder(page.knows)?;
        let mut pictures = BTreeSet::new();
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        let mut link: Option<OpenLink> = None;
        // How deep we are in what the glossary leaves alone: headings, code, links, pictures, and what is folded away,
        // where the first use would not be seen.
        let mut quiet = 0_usize;
        let mut is_titled = false;

        for (event, range) in new_cmark_parser(source, &markdown_options()).into_offset_iter() {
            if let Some(link) = &mut link
                && !matches!(event, Event::End(TagEnd::Link))
            {
                link.text_end = link.text_end.max(range.end);
            }
            match event {
                Event::Start(Tag::Link { dest_url, .. }) => {
                    quiet += 1;
                    link = Some(OpenLink {
                        start: range.start,
                        text_end: range.start + 1,
                        destination: dest_url.into_string(),
                    });
                }
                Event::End(TagEnd::Link) => {
                    quiet -= 1;
                    if let Some(link) = link.take()
                        && !is_elsewhere(&link.destination)
                    {
                        let tail = link.text_end..range.end;
                        match self.target(file, &link.destination)? {
                            Some(target) => edits.push((tail, format!("]({target})"))),
                            None => {
                                edits.push((link.start..link.start + 1, String::new()));
                                edits.push((tail, String::new()));
                            }
                        }
                    }
                }
                Event::Start(Tag::Image { dest_url, .. }) => {
                    quiet += 1;
                    let alt = alt_text(&source[range.clone()]);
                    edits.push((range, self.picture(file, &dest_url, &alt, &mut pictures)?));
                }
                Event::Start(Tag::Heading { .. } | Tag::CodeBlock(_)) => quiet += 1,
                Event::End(TagEnd::Heading(level)) => {
                    quiet -= 1;
                    if level == HeadingLevel::H1 && !is_titled {
                        is_titled = true;
                        edits.push((range.end..range.end, side_by_side_links(file)));
                    }
                }
                Event::End(TagEnd::CodeBlock | TagEnd::Image) => quiet -= 1,
                Event::Html(html) | Event::InlineHtml(html) => {
                    quiet += html.matches("<details").count();
                    quiet = quiet.saturating_sub(html.matches("</details>").count());
                }
                // A text with an escape in it differs from its source: there no place is known.
                Event::Text(text) if quiet == 0 && source[range.clone()] == *text => {
                    edits.extend(words.find(&text).into_iter().map(|(found, html)| {
                        (range.start + found.start..range.start + found.end, html)
                    }));
                }
                _ => {}
            }
        }
        Ok(Chapter { markdown: apply(source, edits), pictures })
    }

    /// Where a link leads in the book, or `None` if there is nothing to link to.
    fn target(&self, file: &str, link: &str) -> Result<Option<String>> {
        let (path, fragment) = match link.split_once('#') {
            Some((path, fragment)) => (path, format!("#{fragment}")),
            None => (link, String::new()),
        };
        let path = resolve(file, path)
            .with_context(|| format!("{file}: the link to {link} leaves the repository"))?;
        let readme = format!("{path}/README.md");
        if let Some(page) = self.pages.get(&path).or_else(|| self.pages.get(&readme)) {
            return Ok(Some(relative(&page_of(file), page) + &fragment));
        }
        if !self.root.join(&path).exists() {
            bail!("{file}: the link to {link} leads to nothing");
        }
        if path.ends_with(".md") {
            eprintln!("book: {file} links to {path}, which is no page: see src/contents.rs");
        }
        let repository = self.repository.as_deref().map(|url| url.trim_end_matches('/'));
        Ok(repository.map(|url| format!("{url}/{path}{fragment}")))
    }

    /// A picture in its box, which scrolls if the page is narrow. A drawing comes once for each theme.
    fn picture(
        &self,
        file: &str,
        link: &str,
        alt: &str,
        pictures: &mut BTreeSet<String>,
    ) -> Result<String> {
        let path = resolve(file, link)
            .filter(|path| self.root.join(path).is_file())
            .with_context(|| format!("{file}: there is no picture {link}"))?;
        let alt = escape_html_attribute(alt);
        let image = |class: &str, path: &str| {
            let link = relative(&page_of(file), path);
            format!(r#"<img class="{class}" src="{link}" alt="{alt}" loading="lazy">"#)
        };
        let images = match path.strip_suffix(".svg") {
            Some(stem) => {
                image("on-light", &format!("{stem}.light.svg"))
                    + &image("on-dark", &format!("{stem}.dark.svg"))
            }
            None => image("shot", &path),
        };
        pictures.insert(path);
        Ok(format!(r#"<span class="picture">{images}</span>"#))
    }
}

/// Whether a link leads out of the repository, or to a place on its own page.
fn is_elsewhere(link: &str) -> bool {
    link.starts_with('#') || link.contains("://") || link.starts_with("mailto:")
}

/// The text between `![` and `]`.
fn alt_text(image: &str) -> String {
    let end = image.rfind("](").unwrap_or(image.len());
    image.get(2..end).unwrap_or_default().replace('\n', " ")
}

/// Below a chapter's title: its side-by-side pages.
fn side_by_side_links(file: &str) -> String {
    let pairs = PAIRS.iter().filter(|pair| pair.chapters.contains(&file));
    let links: Vec<String> = pairs
        .map(|pair| {
            let page = relative(&page_of(file), &page_of_pair(pair.slug));
            format!("[{} and {}]({page})", pair.before.name, pair.after.name)
        })
        .collect();
    if links.is_empty() {
        return String::new();
    }
    format!("\nSide by side: {}.\n\n", links.join("; "))
}

/// The page of a pair.
pub(crate) fn page_of_pair(slug: &str) -> String {
    format!("side-by-side/{slug}.md")
}

/// The page that shows a source file.
pub(crate) fn page_of_source(file: &str) -> String {
    let path = Path::new("code").join(file).with_extension("md");
    path.to_string_lossy().into_owned()
}

/// Puts each edit in the place of its range.
fn apply(source: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(range, _)| range.start);
    let mut result = String::with_capacity(source.len() * 2);
    let mut done = 0;
    for (range, text) in edits {
        result.push_str(&source[done..range.start]);
        result.push_str(&text);
        done = range.end;
    }
    result + &source[done..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::Knows;

    fn library(repository: Option<&str>) -> Library {
        let table = "| word | means | step |\n|-|-|-|\n| peer | the other end | 1 |\n";
        Library {
            root: Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
            pages: [("README.md", "index.md"), ("step1-sequential/README.md", "one/index.md")]
                .map(|(file, page)| (file.to_owned(), page.to_owned()))
                .into(),
            repository: repository.map(str::to_owned),
            glossary: Glossary::parse(table).expect("a glossary"),
        }
    }

    fn chapter(library: &Library, source: &str) -> Result<String> {
        let page = Page { name: "", files: &[], knows: Knows::Step(1) };
        Ok(library.chapter(&page, "labs/threads/README.md", source)?.markdown)
    }

    #[test]
    fn a_link_to_a_chapter_leads_to_its_page() {
        let made =
            chapter(&library(None), "[a *b*](../../README.md#c), [d](../../step1-sequential)");
        assert_eq!(made.expect("a chapter"), "[a *b*](../../index.md#c), [d](../../one/index.md)");
    }

    #[test]
    fn a_link_to_a_file_without_a_page_leads_to_the_repository_or_is_text() {
        let source = "[`lib.rs`](src/lib.rs)";
        assert_eq!(chapter(&library(None), source).expect("a chapter"), "`lib.rs`");
        assert_eq!(
            chapter(&library(Some("https://example.org/blob/main/")), source).expect("a chapter"),
            "[`lib.rs`](https://example.org/blob/main/labs/threads/src/lib.rs)"
        );
    }

    #[test]
    fn a_link_to_nothing_is_an_error() {
        assert!(chapter(&library(None), "[a](nothing.md)").is_err());
        assert!(chapter(&library(None), "[a](../../../nothing.md)").is_err());
    }

    #[test]
    fn words_in_headings_code_and_links_are_left_alone() {
        let made =
            chapter(&library(None), "# peer\n\n`peer` [peer](https://example.org) peer, peer\n");
        let made = made.expect("a chapter");
        assert!(made.starts_with("# peer\n\n`peer` [peer](https://example.org) <button"));
        assert!(made.ends_with(">peer</button>, peer\n"));
    }

    #[test]
    fn a_word_is_explained_where_it_is_seen() {
        let folded = "<details><summary>peer</summary>\n\npeer\n</details>\n\n";
        let made = chapter(&library(None), &format!("{folded}peer\n")).expect("a chapter");
        assert!(made.starts_with(&format!("{folded}<button")), "{made}");
    }
}
