//! What was done when: a lane for each thread and task of the server, and one for each client.

use client::count;
use maud::{Markup, html};

use super::{AXIS, Axis, HEADING, MARGIN, Picture, WIDTH};
use super::{duration, legend, line, px, text, width_of};
use crate::timeline::{Kind, Lane, Span, Timeline};
use crate::{Measurement, Stage};

/// How far apart lanes are, and how much of that is drawn on.
pub(crate) const LANE: f64 = 20.0;
pub(crate) const BAR: f64 = 15.0;

/// Where lanes begin and end.
pub(crate) const LEFT: f64 = 92.0;
pub(crate) const RIGHT: f64 = WIDTH - MARGIN;

/// More lanes than this of a kind are only counted.
const MOST_LANES: usize = 12;

/// A call that took so long, in seconds, has waited for something.
const WAITED: f64 = 0.001;

/// A run of a stage, on an axis of `until` seconds: the same for all that are to be compared.
pub(crate) fn stage(m: &Measurement, timeline: &Timeline, until: f64) -> Picture {
    let stage = Stage::named(&m.stage);
    let title = match stage.map(|stage| (stage.number(), stage)) {
        Some((Some(number), stage)) => format!("Step {number}, {}: {}", stage.name, stage.idea),
        Some((None, stage)) => format!("{}: {}", stage.name, stage.idea),
        None => m.stage.clone(),
    };
    let axis = Axis { left: LEFT, right: RIGHT, most: until };
    let server: Vec<_> = timeline.server.iter().collect();
    let clients = timeline.clients_in_order();

    let (above, below) = lane_heights(server.len(), clients.len());
    let bottom = HEADING + above + below;
    let end = axis.x(m.elapsed);
    let done = format!("{}: all clients are done", duration(m.elapsed));
    let fits = end + 8.0 + width_of(&done, 12.0) < WIDTH;
    let kinds = legend_of(timeline, axis);
    let (legend, height) = legend(&kinds, bottom + AXIS + 4.0);
    let body = html! {
        (axis.draw(HEADING, bottom, "seconds since the clients started"))
        (lanes("server", &server, HEADING, axis))
        (lanes("clients", &clients, HEADING + above, axis))
        (line("mark", (end, HEADING), (end, bottom)))
        @if fits {
            (text("halo", end + 8.0, HEADING + 13.0, &done))
            @for (row, lane) in (1..=MOST_LANES).zip(&server) {
                (text("muted", end + 8.0, HEADING + row as f64 * LANE + 12.0, &slept(lane)))
            }
        }
        (legend)
    };
    let caption = caption(m, timeline, stage);
    Picture { name: m.stage.clone(), title, caption, height: height + 2.0, body }
}

/// Where a thread or a task has slept, and for how long.
fn slept(lane: &Lane) -> String {
    let mut sleeps: Vec<(&str, f64, usize)> = Vec::new();
    for span in lane.spans.iter().filter(|span| matches!(class_of(span), "asleep" | "await")) {
        match sleeps.iter_mut().find(|(name, ..)| *name == span.name) {
            Some((_, seconds, times)) => {
                (*seconds, *times) = (*seconds + span.seconds(), *times + 1)
            }
            None => sleeps.push((&span.name, span.seconds(), 1)),
        }
    }
    let Some((name, seconds, times)) = sleeps.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)) else {
        return String::new();
    };
    format!("asleep in {name}: {}, {}", count(times, "time"), duration(seconds))
}

/// What the run shows, in its own figures.
fn caption(m: &Measurement, timeline: &Timeline, stage: Option<Stage>) -> String {
    let threads = m.threads.unwrap_or(timeline.threads()) as usize;
    let last = timeline.clients.iter().map(Lane::greeted).fold(0.0, f64::max);
    let figures = format!(
        "{}, {}: done after {}; the last client waited {} for its greeting.",
        count(m.clients, "client"),
        count(threads, "thread"),
        duration(m.elapsed),
        duration(last)
    );
    stage.map_or(figures.clone(), |stage| format!("{} {figures}", stage.look))
}

/// What the colours mean, without those that cannot be seen.
fn legend_of(timeline: &Timeline, axis: Axis) -> Vec<(&'static str, &'static str)> {
    let all = [
        ("asleep", "thread: asleep in the call that is named"),
        ("call", "thread: a call that returned at once"),
        ("callback", "thread: in a callback"),
        ("await", "task: asleep at .await"),
        ("work", "thread: computes"),
        ("unnoticed", "client: waits"),
        ("pausing", "client: pauses"),
        ("busy", "client: sends or receives"),
    ];
    // Calls are short, and so is sending: they lie on top. Of anything else only the rest can be seen.
    let is_seen = |lane: &Lane, span: &Span| match span.kind {
        Kind::Call | Kind::Busy => true,
        _ => axis.x(span.seconds() - inside(lane, span)) - axis.x(0.0) >= SHORTEST,
    };
    let lanes = || timeline.server.iter().chain(&timeline.clients);
    let occurs = |class: &str| {
        lanes().any(|lane| {
            lane.spans.iter().any(|span| class_of(span) == class && is_seen(lane, span))
        })
    };
    all.into_iter().filter(|(class, _)| occurs(class)).collect()
}

/// How long the calls took that a callback made.
fn inside(lane: &Lane, callback: &Span) -> f64 {
    let calls = lane.spans.iter().filter(|span| span.kind == Kind::Call);
    let made = calls.filter(|call| callback.from <= call.from && call.to <= callback.to);
    made.map(Span::seconds).sum()
}

/// How high the lanes of the server are, and those of the clients.
fn lane_heights(server: usize, clients: usize) -> (f64, f64) {
    let height = |lanes: usize| (lanes.min(MOST_LANES) + 1) as f64 * LANE;
    (height(server), height(clients))
}

/// A heading, and the lanes under it.
pub(crate) fn lanes(heading: &str, all: &[&Lane], top: f64, axis: Axis) -> Markup {
    let shown = all.len().min(MOST_LANES);
    let heading = match shown < all.len() {
        true => format!("{heading}, {shown} of {}", all.len()),
        false => heading.to_owned(),
    };
    html! {
        (text("name", MARGIN, top + 13.0, &heading))
        @for (row, lane) in (1..).zip(&all[..shown]) {
            (self::lane(lane, top + f64::from(row) * LANE, axis))
        }
    }
}

/// One lane.
pub(crate) fn lane(lane: &Lane, top: f64, axis: Axis) -> Markup {
    html! {
        (text("", MARGIN, top + 12.0, &lane.name))
        rect.lane x=(px(axis.left)) y=(px(top)) width=(px(axis.right - axis.left)) height=(BAR) {}
        @for span in in_order(lane, axis) { (self::span(span, top, axis)) }
    }
}

/// What is short lies on top, or it would be covered by what follows it; and calls lie on the callbacks that made them.
fn in_order(lane: &Lane, axis: Axis) -> Vec<&Span> {
    let mut spans: Vec<_> = lane.spans.iter().collect();
    spans.sort_by_key(|span| (is_short(span, axis), span.kind != Kind::Callback));
    spans
}

/// A span is drawn at least this wide, however short it was.
const SHORTEST: f64 = 2.0;

fn is_short(span: &Span, axis: Axis) -> bool {
    axis.x(span.to) - axis.x(span.from) < SHORTEST
}

fn span(span: &Span, top: f64, axis: Axis) -> Markup {
    let x = axis.x(span.from);
    let width = (axis.x(span.to) - x).max(SHORTEST);
    let about = format!("{}: {}, from {:.6} s", span.name, duration(span.seconds()), span.from);
    html! {
        rect class=(class_of(span)) x=(px(x)) y=(px(top)) width=(px(width)) height=(BAR) { title { (about) } }
        @if width > 6.0 + width_of(&span.name, 11.0) {
            (text("inside", x + 4.0, top + 11.5, &span.name))
        }
    }
}

/// Its colour.
pub(crate) fn class_of(span: &Span) -> &'static str {
    match span.kind {
        Kind::Call if span.seconds() > WAITED => "asleep",
        Kind::Call => "call",
        Kind::Callback => "callback",
        Kind::Asleep => "await",
        Kind::Work => "work",
        Kind::Unnoticed | Kind::Asking => "unnoticed",
        Kind::Pausing => "pausing",
        Kind::Busy => "busy",
    }
}
