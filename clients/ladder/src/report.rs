//! One page with everything: all stages on one axis, the table, a timeline for each stage, and what idle peers cost. It
//! needs no network and no other file.

use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use crate::picture::idle::IdleCost;
use crate::picture::{STYLE, idle, overview, zoom};
use crate::pictures::of_stages;
use crate::table::{COLUMNS, cells};
use crate::{Measurement, Picture, Stage, note};

/// What has to be said of figures that were measured together with a timeline.
pub const TRACED: &str =
    "CPU and switches include what it took the servers to write down the timelines.";

/// The page. `root` is what [`link_to_course`] says.
pub fn page(measurements: &[Measurement], idle: &[IdleCost], machine: &str, root: &str) -> String {
    let traced = measurements.iter().any(|m| m.timeline.is_some());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "The ladder" }
                style { (PreEscaped(include_str!("report.css"))) (PreEscaped(STYLE)) }
            }
            body {
                h1 { "The ladder: every step under the same clients" }
                p { (machine) }
                @if traced { (figure(&overview::overview(measurements), None)) }
                div.wide { (figures(measurements)) }
                @if traced { p { (TRACED) } }
                @for picture in of_stages(measurements) {
                    h2 id=(picture.name) { (picture.name) }
                    @for note in measurements.iter().filter(|m| m.stage == picture.name).flat_map(note) {
                        p { (note) }
                    }
                    (figure(&picture, Stage::named(&picture.name).map(|stage| (root, stage))))
                }
                @if let Some(picture) = zoom::zoom(measurements) {
                    h2 { "From close by" }
                    (figure(&picture, None))
                }
                @if !idle.is_empty() {
                    h2 { "What idle peers cost" }
                    (figure(&idle::idle(idle), None))
                }
            }
        }
    }
    .into_string()
}

/// Where the chapters are, for a page that is written to `path`.
pub fn link_to_course(path: &Path) -> String {
    let here = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let here = here.unwrap_or(Path::new(".")).canonicalize().unwrap_or_default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().unwrap_or_default();
    match here.strip_prefix(&root) {
        Ok(folders) => "../".repeat(folders.components().count()),
        Err(_) => format!("file://{}/", root.display()),
    }
}

/// A drawing, what it shows, and where there is more about it.
fn figure(picture: &Picture, chapter: Option<(&str, Stage)>) -> Markup {
    html! {
        figure {
            div.wide { (picture.inline()) }
            figcaption {
                (picture.caption)
                @if let Some((root, stage)) = chapter {
                    " " a href=(format!("{root}{}", stage.chapter)) { "The chapter" }
                }
            }
        }
    }
}

fn figures(measurements: &[Measurement]) -> Markup {
    html! {
        table {
            thead { tr { th { "stage" } @for (name, meaning) in COLUMNS { th title=(meaning) { (name) } } } }
            tbody {
                @for measurement in measurements {
                    tr { @for cell in cells(measurement) { td { (cell) } } }
                }
            }
        }
        dl { @for (name, meaning) in COLUMNS { dt { (name) } dd { (meaning) } } }
    }
}
