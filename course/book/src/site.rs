//! The whole site: chapters, side-by-side pages, source files, pictures; then mdBook; then a few repairs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use mdbook_core::book::{Book, BookItem, Chapter, SectionNumber};
use mdbook_core::config::Config;
use mdbook_driver::MDBook;
use mdbook_summary::Summary;

use crate::chapter::{Library, page_of_pair, page_of_source};
use crate::contents::{CONTENTS, Entry, GLOSSARY, PAIRS, Page, compared_files};
use crate::glossary::Glossary;
use crate::paths::{page_of, relative};
use crate::side_by_side;

/// What a reader may choose about the site.
#[derive(Debug)]
pub(crate) struct Options {
    /// The folder to write to.
    pub(crate) out: PathBuf,
    /// Where the repository's files can be browsed.
    pub(crate) repository: Option<String>,
    /// The path under which the site will be served.
    pub(crate) site_url: Option<String>,
}

/// The folder of this program: its configuration and style are read from there.
pub(crate) const HOME: &str = env!("CARGO_MANIFEST_DIR");

/// A file that says that a folder was written by mdBook, which first empties the folder it writes to.
const SIGN: &str = ".nojekyll";

/// Builds the site, and returns how many pages it has.
pub(crate) fn build(options: &Options) -> Result<usize> {
    let home = Path::new(HOME);
    let root = home.join("../..");
    let out = std::path::absolute(&options.out)?;
    let is_full = || -> Result<bool> {
        let mut files = fs::read_dir(&out).with_context(|| out.display().to_string())?;
        Ok(files.next().is_some())
    };
    if out.exists() && !out.join(SIGN).exists() && is_full()? {
        bail!("{} is not empty and not a book: it stays as it is", out.display());
    }

    let library = library(root, options.repository.clone())?;
    let mut pictures = BTreeSet::new();
    let book = book(&library, &mut pictures)?;
    let count = book.chapters().count();

    // mdBook copies what is in its source folder and is not Markdown: here, the pictures.
    let stage = home.join("target/book-pictures");
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| stage.display().to_string())?;
    }
    fs::create_dir_all(&stage).with_context(|| stage.display().to_string())?;
    for picture in &pictures {
        stage_picture(&library.root, picture, &stage)?;
    }

    let mut config = Config::from_disk(home.join("book.toml"))?;
    config.book.src = stage;
    config.build.build_dir.clone_from(&out);
    if let Some(url) = &options.site_url {
        config.set("output.html.site-url", url)?;
    }
    if let Some(url) = &options.repository {
        config.set("output.html.git-repository-url", url)?;
    }
    let mut builder = MDBook::load_with_config_and_summary(home, config, Summary::default())?;
    builder.book = book;
    builder.build()?;
    repair(&out)?;
    Ok(count)
}

/// Reads the text of `file`.
fn read(root: &Path, file: &str) -> Result<String> {
    fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))
}

/// The first of `files` that exists.
fn first_existing(root: &Path, files: &'static [&'static str]) -> Result<&'static str> {
    files
        .iter()
        .find(|file| root.join(file).is_file())
        .copied()
        .with_context(|| format!("there is no {}", files.join(", and no ")))
}

fn library(root: PathBuf, repository: Option<String>) -> Result<Library> {
    let glossary = Glossary::parse(&read(&root, first_existing(&root, GLOSSARY)?)?)?;
    let mut pages: std::collections::BTreeMap<String, String> = compared_files()
        .iter()
        .map(|source| (source.file.to_owned(), page_of_source(source.file)))
        .collect();
    for entry in CONTENTS {
        if let Entry::Page(page) = entry {
            // A link may still lead to where the file was.
            pages.extend(page.files.iter().map(|file| (file.to_string(), page_of(file))));
        }
    }
    Ok(Library { root, pages, repository, glossary })
}

/// All pages in order.
fn book(library: &Library, pictures: &mut BTreeSet<String>) -> Result<Book> {
    let mut items = Vec::new();
    for entry in CONTENTS {
        items.push(match entry {
            Entry::Part(title) => BookItem::PartTitle((*title).to_owned()),
            Entry::Page(page) => BookItem::Chapter(chapter(library, page, pictures)?),
        });
    }
    items.push(BookItem::Chapter(sources(library)?));
    Ok(Book::new_with_items(items))
}

/// A chapter, with its side-by-side pages below it.
fn chapter(library: &Library, page: &Page, pictures: &mut BTreeSet<String>) -> Result<Chapter> {
    let file = first_existing(&library.root, page.files)?;
    let made = library.chapter(page, file, &read(&library.root, file)?)?;
    pictures.extend(made.pictures);
    let mut chapter = Chapter::new(page.name, made.markdown, page_of(file), Vec::new());
    for pair in PAIRS.iter().filter(|pair| pair.chapters.last() == Some(&file)) {
        let path = page_of_pair(pair.slug);
        let link = |file: &str| {
            let name = CONTENTS.iter().find_map(|entry| match entry {
                Entry::Page(page) if page.files.contains(&file) => Some(page.name.to_owned()),
                _ => None,
            });
            let name = name.unwrap_or_else(|| format!("`{file}`"));
            let page = library.pages.get(file).map_or("", String::as_str);
            format!("[{name}]({})", relative(&path, page))
        };
        let before = read(&library.root, pair.before.file)?;
        let after = read(&library.root, pair.after.file)?;
        let content = side_by_side::page(pair, &before, &after, link)?;
        chapter.sub_items.push(below(page.name, pair.name, content, path));
    }
    Ok(chapter)
}

/// A page below another. mdBook takes the depth from the number, which it doesn't show.
fn below(parent: &str, name: &str, content: String, path: String) -> BookItem {
    let mut chapter = Chapter::new(name, content, path, vec![parent.to_owned()]);
    chapter.number = Some(SectionNumber::new([1, 1]));
    chapter.into()
}

/// The compared files, each on a page of its own.
fn sources(library: &Library) -> Result<Chapter> {
    const NAME: &str = "The compared files";
    let mut list = format!("# {NAME}\n\nThese are the files that the chapters compare.\n\n");
    let mut pages = Vec::new();
    for source in compared_files() {
        let path = page_of_source(source.file);
        let text = read(&library.root, source.file)?;
        ensure!(!text.contains("````"), "{} has four backticks in a row", source.file);
        let content = format!("# `{}`\n\n````rust\n{}\n````\n", source.file, text.trim_end());
        list.push_str(&format!(
            "- [{}]({}): `{}`\n",
            source.name,
            relative("code/index.md", &path),
            source.file
        ));
        pages.push(below(NAME, source.name, content, path));
    }
    let mut chapter = Chapter::new(NAME, list, "code/index.md", Vec::new());
    chapter.sub_items = pages;
    Ok(chapter)
}

/// Copies a picture. A drawing asks the system whether it is dark; in the book the reader decides, so it becomes two.
fn stage_picture(root: &Path, picture: &str, stage: &Path) -> Result<()> {
    const QUESTION: &str = "@media (prefers-color-scheme: dark)";
    let to = stage.join(picture);
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    if !picture.ends_with(".svg") {
        fs::copy(root.join(picture), &to).with_context(|| format!("cannot copy {picture}"))?;
        return Ok(());
    }
    let drawing = read(root, picture)?;
    for (theme, answer) in [("light", "@media not all"), ("dark", "@media all")] {
        let to = to.with_extension(format!("{theme}.svg"));
        fs::write(&to, drawing.replace(QUESTION, answer))
            .with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// The line of the theme menu.
macro_rules! theme {
    ($id:literal, $name:literal) => {
        concat!(
            r#"<li role="none"><button role="menuitem" class="theme" id="mdbook-theme-"#,
            $id,
            r#"">"#,
            $name,
            "</button></li>"
        )
    };
}

/// What mdBook's own part of a page lacks: what is there, and what must be.
const REPAIRS: &[(&str, &str)] = &[
    // A label is not reached by the keyboard, and must not be said to be expanded.
    (
        r#"<label id="mdbook-sidebar-toggle" class="icon-button""#,
        r#"<label id="mdbook-sidebar-toggle" role="button" tabindex="0" class="icon-button""#,
    ),
    // The id that it is described by does not exist.
    (r#"aria-describedby="searchresults-header""#, r#"aria-label="Search this book""#),
    // The chapter's title is the page's heading.
    (
        r#"<h1 class="menu-title">Concurrent servers, one step at a time</h1>"#,
        r#"<div class="menu-title">Concurrent servers, one step at a time</div>"#,
    ),
    // Two themes are enough.
    (theme!("rust", "Rust"), ""),
    (theme!("coal", "Coal"), ""),
    (theme!("ayu", "Ayu"), ""),
    (theme!("navy", "Navy"), theme!("navy", "Dark")),
];

/// Repairs every page, and says if mdBook's page has changed so that a repair no longer fits.
fn repair(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            repair(&path)?;
            continue;
        }
        let is_page = path.extension().is_some_and(|extension| extension == "html");
        if !is_page || path.ends_with("toc.html") {
            continue;
        }
        let mut page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for (from, to) in REPAIRS {
            ensure!(page.contains(from), "{}: no {from}", path.display());
            page = page.replace(from, to);
        }
        if path.ends_with("404.html") {
            // The page is shown at any address, so its base is the front page.
            page = page.replace("href=\"#", "href=\"404.html#");
        }
        if path.ends_with("print.html") {
            page = page.replacen("<body>", "<body class=\"print-page\">", 1);
        }
        fs::write(&path, page).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
