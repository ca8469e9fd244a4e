//! Paths inside the repository and inside the book: relative, with `/`, as in a link.

/// Where a link leads that stands in the file `from`, or `None` if it leaves the repository.
pub(crate) fn resolve(from: &str, link: &str) -> Option<String> {
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The link to `to` that stands on the page `from`.
pub(crate) fn relative(from: &str, to: &str) -> String {
    "../".repeat(from.matches('/').count()) + to
}

/// The page that a Markdown file becomes. A folder's README is the folder's index.
pub(crate) fn page_of(file: &str) -> String {
    match file.strip_suffix("README.md") {
        Some(folder) => format!("{folder}index.md"),
        None if file == "GLOSSARY.md" => "course/glossary.md".to_owned(),
        None => file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_resolved_from_its_own_folder() {
        assert_eq!(resolve("a/README.md", "../b/./c.rs").as_deref(), Some("b/c.rs"));
        assert_eq!(resolve("README.md", "src").as_deref(), Some("src"));
        assert_eq!(resolve("README.md", "../other"), None);
    }

    #[test]
    fn a_relative_link_first_climbs_to_the_root() {
        assert_eq!(relative("a/b/index.md", "c/index.md"), "../../c/index.md");
        assert_eq!(relative("index.md", "c/index.md"), "c/index.md");
    }

    #[test]
    fn a_readme_is_its_folders_index() {
        assert_eq!(page_of("README.md"), "index.md");
        assert_eq!(page_of("a/README.md"), "a/index.md");
        assert_eq!(page_of("GLOSSARY.md"), page_of("course/glossary.md"));
    }
}
