//! A pool of threads that grows and shrinks with its queue, while a crowd comes and goes.

use client::count;
use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::{AXIS, Axis, HEADING, MARGIN, Picture, WIDTH};
use super::{legend, line, px, text, ticks};

/// What was recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Crowd {
    /// What it was recorded on.
    pub(crate) machine: String,
    /// How long a page takes, in seconds.
    pub(crate) page: u64,
    /// How many requests the queue holds.
    pub(crate) queue_capacity: usize,
    /// How many threads there may be.
    pub(crate) max_workers: usize,
    /// When, in seconds, and then how many users there were, how many threads, how many requests in the queue, and how many
    /// outside of it.
    pub(crate) rows: Vec<(f64, usize, usize, usize, usize)>,
}

const HEIGHT: f64 = 240.0;
const LEFT: f64 = 48.0;

/// `None` if nothing was recorded.
pub(crate) fn crowd(recorded: &Crowd) -> Option<Picture> {
    let Crowd { page, queue_capacity, max_workers, rows, .. } = recorded;
    let &(seconds, ..) = rows.last()?;
    let x = Axis { left: LEFT, right: WIDTH - MARGIN, most: seconds };
    let highest = rows.iter().map(|row| row.1.max(row.2).max(row.3 + row.4)).max()? as f64;
    let (meaning, top) = legend(
        &[
            ("key-users", "users"),
            ("dot0", &format!("threads, {max_workers} at most")),
            ("pausing", &format!("requests in the queue, {queue_capacity} at most")),
            ("unnoticed", "requests outside of it"),
        ],
        HEADING + 2.0,
    );
    let (top, bottom) = (top + 26.0, top + 26.0 + HEIGHT);
    let y = |number: usize| bottom - number as f64 / highest * HEIGHT;
    let steps = |what: fn(&(f64, usize, usize, usize, usize)) -> usize| {
        rows.iter().map(|row| (x.x(row.0), y(what(row)))).collect::<Vec<_>>()
    };
    let (queue, all) = (steps(|row| row.3), steps(|row| row.3 + row.4));
    let body = html! {
        (meaning)
        @for tick in ticks(highest).into_iter().filter(|tick| tick.fract() == 0.0) {
            (line("grid", (LEFT, y(tick as usize)), (WIDTH - MARGIN, y(tick as usize))))
            (text("tick end", LEFT - 6.0, y(tick as usize) + 4.0, &tick.to_string()))
        }
        (text("muted", MARGIN, top - 12.0, "how many"))
        (area("unnoticed", &all, y(0)))
        (area("pausing", &queue, y(0)))
        (x.draw(bottom, bottom, "seconds since the first user came"))
        path class="line users" d=(staircase(&steps(|row| row.1))) {}
        path class="line line0" d=(staircase(&steps(|row| row.2))) {}
    };
    Some(Picture {
        name: "web-pool".to_owned(),
        title: format!("A crowd comes and goes, each page takes {page} s: the pool breathes"),
        caption: caption(recorded),
        height: bottom + AXIS,
        body,
    })
}

fn caption(recorded: &Crowd) -> String {
    let rows = &recorded.rows;
    let most = |what: fn(&(f64, usize, usize, usize, usize)) -> usize| {
        rows.iter().map(what).max().unwrap_or_default()
    };
    let workers = most(|row| row.2);
    let since = rows.iter().find(|row| row.2 == workers).map_or(0.0, |row| row.0);
    let alone = rows.iter().rfind(|row| row.2 > 1).map_or(0.0, |row| row.0);
    let nobody = rows.iter().rfind(|row| row.1 > 0).map_or(0.0, |row| row.0);
    format!(
        "Up to {} come, and leave again. The pool has {} after {since:.0} s; up to {} wait in the queue and {} outside of it. \
         The last user leaves after {nobody:.0} s, and the last thread but one after {alone:.0} s.",
        count(most(|row| row.1), "user"),
        count(workers, "thread"),
        count(most(|row| row.3), "request"),
        most(|row| row.4),
    )
}

/// Each height from its time to the next one's.
fn staircase(steps: &[(f64, f64)]) -> String {
    let Some(&(first, mut height)) = steps.first() else { return String::new() };
    let mut path = format!("M{} {}", px(first), px(height));
    for &(x, y) in steps {
        if y != height {
            path += &format!("H{}V{}", px(x), px(y));
            height = y;
        }
    }
    let end = steps.last().map_or(first, |step| step.0);
    path + &format!("H{}", px(end))
}

fn area(class: &str, steps: &[(f64, f64)], bottom: f64) -> Markup {
    let left = steps.first().map_or(0.0, |step| step.0);
    let top = staircase(steps);
    html! { path class=(class) d=(format!("{top}V{}H{}Z", px(bottom), px(left))) {} }
}
