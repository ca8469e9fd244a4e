//! What is in the book, and in which order. A page that moves is a change of one line here.

use crate::contents::Knows::{All, Lab, Step};

/// A line of the table of contents.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A heading between pages.
    Part(&'static str),
    /// A page made from a Markdown file of the repository.
    Page(Page),
}

/// A page made from a Markdown file of the repository.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its name in the table of contents.
    pub(crate) name: &'static str,
    /// Where the file is: the first of these that exists.
    pub(crate) files: &'static [&'static str],
    /// Which of the glossary's words are explained on it.
    pub(crate) knows: Knows,
}

/// Which of the glossary's words a page explains: a word of a later step means something else before it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Knows {
    /// The words of the steps up to this one.
    Step(u32),
    /// The words of all steps.
    All,
    /// The words of all steps, and those of this lab.
    Lab(&'static str),
}

const fn page(name: &'static str, files: &'static [&'static str], knows: Knows) -> Entry {
    Entry::Page(Page { name, files, knows })
}

/// The table of contents. The first page is the front page.
pub(crate) const CONTENTS: &[Entry] = &[
    page("Concurrent servers", &["README.md"], All),
    page("The course", &["course/README.md"], All),
    Entry::Part("The steps"),
    page("1 Sequential", &["step1-sequential/README.md"], Step(1)),
    page("2 Thread per client", &["step2-thread-per-client/README.md"], Step(2)),
    page("3 Blocking", &["step3-blocking/README.md"], Step(3)),
    page("4 Non-blocking, polling", &["step4-nonblocking-poll/README.md"], Step(4)),
    page("5 select", &["step5-select/README.md"], Step(5)),
    page("6 epoll and kqueue", &["step6-epoll-kqueue/README.md"], Step(6)),
    page("7 Event loop", &["step7-event-loop/README.md"], Step(7)),
    Entry::Part("The labs"),
    page("async and await", &["labs/async-await/README.md"], Lab("async")),
    page("Threads", &["labs/threads/README.md"], Lab("threads")),
    page("Thundering herd", &["labs/thundering-herd/README.md"], Lab("herd")),
    page("Web server", &["labs/web-server/README.md"], Lab("web")),
    page("Clients who mean harm", &["course/clients-who-mean-harm.md"], All),
    page("Exercises", &["course/exercises/README.md"], All),
    Entry::Part("Tools"),
    page("simple-client", &["clients/simple-client/README.md"], All),
    page("ladder", &["clients/ladder/README.md"], All),
    page("check", &["clients/check/README.md"], All),
    page("load", &["clients/load/README.md"], All),
    page("accept-client", &["clients/accept-client/README.md"], All),
    page("accesses", &["clients/accesses/README.md"], All),
    page("The book", &["course/book/README.md"], All),
    Entry::Part("To look up"),
    page("Glossary", GLOSSARY, Step(0)),
    page("Pictures", &["course/pictures/README.md"], All),
];

/// Where the glossary is: the first of these that exists.
pub(crate) const GLOSSARY: &[&str] = &["course/glossary.md", "GLOSSARY.md"];

/// Two files that are read side by side.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The page's name in the table of contents.
    pub(crate) name: &'static str,
    /// The last part of the page's address.
    pub(crate) slug: &'static str,
    /// The earlier one.
    pub(crate) before: Source,
    /// The later one.
    pub(crate) after: Source,
    /// The Markdown files whose pages link to it. The page stands below the last of them.
    pub(crate) chapters: &'static [&'static str],
}

/// A file that is compared with another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// What the text calls it.
    pub(crate) name: &'static str,
    /// Where it is.
    pub(crate) file: &'static str,
}

const fn source(name: &'static str, file: &'static str) -> Source {
    Source { name, file }
}

const STEP1: Source = source("step 1", "step1-sequential/src/main.rs");
const STEP2: Source = source("step 2", "step2-thread-per-client/src/main.rs");
const STEP3: Source = source("step 3", "step3-blocking/src/main.rs");
const STEP4: Source = source("step 4", "step4-nonblocking-poll/src/main.rs");
const SELECT: Source = source("step 5", "step5-select/src/main.rs");
const POLL: Source = source("step 5 with poll", "step5-select/examples/poll.rs");
const STEP6: Source = source("step 6", "step6-epoll-kqueue/src/main.rs");
const EDGE: Source = source("step 6, edge-triggered", "step6-epoll-kqueue/examples/edge.rs");
const ASYNC: Source = source("async-echo", "labs/async-await/src/bin/async-echo.rs");
const TOKIO: Source = source("tokio-echo", "labs/async-await/src/bin/tokio-echo/main.rs");

/// The pairs of neighbours. `crates/server/tests/neighbours.rs` holds them to be alike.
pub(crate) const PAIRS: &[Pair] = &[
    Pair {
        name: "Steps 1 and 2",
        slug: "step1-step2",
        before: STEP1,
        after: STEP2,
        chapters: &["step1-sequential/README.md", "step2-thread-per-client/README.md"],
    },
    Pair {
        name: "Steps 3 and 4",
        slug: "step3-step4",
        before: STEP3,
        after: STEP4,
        chapters: &["step3-blocking/README.md", "step4-nonblocking-poll/README.md"],
    },
    Pair {
        name: "select and poll",
        slug: "step5-poll",
        before: SELECT,
        after: POLL,
        chapters: &["step5-select/README.md"],
    },
    Pair {
        name: "Steps 5 and 6",
        slug: "step5-step6",
        before: SELECT,
        after: STEP6,
        chapters: &["step5-select/README.md", "step6-epoll-kqueue/README.md"],
    },
    Pair {
        name: "Level and edge",
        slug: "step6-edge",
        before: STEP6,
        after: EDGE,
        chapters: &["step6-epoll-kqueue/README.md"],
    },
    Pair {
        name: "Step 1 and async-echo",
        slug: "step1-async-echo",
        before: STEP1,
        after: ASYNC,
        chapters: &["step1-sequential/README.md", "labs/async-await/README.md"],
    },
    Pair {
        name: "async-echo and tokio-echo",
        slug: "async-echo-tokio-echo",
        before: ASYNC,
        after: TOKIO,
        chapters: &["labs/async-await/README.md"],
    },
];

/// Every compared file once, in the order of the pairs.
pub(crate) fn compared_files() -> Vec<Source> {
    let mut files: Vec<Source> = Vec::new();
    for source in PAIRS.iter().flat_map(|pair| [pair.before, pair.after]) {
        if !files.iter().any(|known| known.file == source.file) {
            files.push(source);
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair that the tests of the course compare has a page here.
    #[test]
    fn the_pairs_are_those_that_the_tests_of_the_course_compare() {
        let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/server/tests/neighbours.rs");
        let tests = std::fs::read_to_string(tests).expect("the tests of the neighbours");
        let list = tests.split("const NEIGHBOURS").nth(1).expect("the list of the neighbours");
        let list = list.split("];").next().expect("its end");
        let files: Vec<&str> =
            list.split('"').skip(1).step_by(2).filter(|file| file.ends_with(".rs")).collect();
        let theirs: Vec<_> = files.chunks(2).map(<[&str]>::to_vec).collect();
        let ours: Vec<_> =
            PAIRS.iter().map(|pair| vec![pair.before.file, pair.after.file]).collect();
        assert_eq!(theirs, ours);
    }
}
