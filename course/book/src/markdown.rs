//! Markdown as mdBook reads it.

use mdbook_markdown::MarkdownOptions;

/// The same options as in `book.toml`, so that mdBook sees what is seen here.
pub(crate) fn markdown_options() -> MarkdownOptions {
    let mut options = MarkdownOptions::default();
    options.smart_punctuation = false;
    options.definition_lists = false;
    options
}
