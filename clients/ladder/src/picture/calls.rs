//! A moment of a server: its calls where they were, to the microsecond, and under that one by one with their names.

use maud::{Markup, html};

use super::{Axis, MARGIN, WIDTH, duration, line, px, rect, text, ticks};
use crate::timeline::{Kind, Lane, Span};

/// How far apart lanes are, how much of that is drawn on, and how much is left under it for callbacks.
const LANE: f64 = 23.0;
const BAR: f64 = 14.0;
const CALLBACK: f64 = 4.0;

/// What lies between the lanes and the calls one by one, and how high those are.
const FAN: f64 = 22.0;
const CELL: f64 = 34.0;

/// More lanes than this are left out.
const MOST_LANES: usize = 8;

/// A moment, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) from: f64,
    pub(crate) to: f64,
}

impl Moment {
    fn meets(self, span: &Span) -> bool {
        span.to > self.from && span.from < self.to
    }

    /// The part of a span that lies in it, in microseconds after its beginning.
    fn part(self, span: &Span) -> (f64, f64) {
        let after = |time: f64| 1e6 * (time.clamp(self.from, self.to) - self.from);
        (after(span.from), after(span.to))
    }

    pub(crate) fn microseconds(self) -> f64 {
        1e6 * (self.to - self.from)
    }
}

/// The axis of moments that last up to so many microseconds.
pub(crate) fn axis(most: f64) -> Axis {
    Axis { left: 104.0, right: WIDTH - MARGIN - 20.0, most }
}

/// What a call does, by its name: its colour.
fn class_of(span: &Span) -> &'static str {
    match span.name.as_str() {
        _ if span.kind == Kind::Work => "work",
        "recv" => "recv",
        "send" => "send",
        name if is_wait(name) => "asleep",
        _ => "other",
    }
}

/// Whether it is a call that waits for many things at once.
pub(crate) fn is_wait(name: &str) -> bool {
    matches!(name, "select" | "poll" | "epoll_wait" | "kevent")
}

/// What the colours of these calls mean.
pub(crate) fn meanings(calls: &[(&Lane, &Span)]) -> Vec<(&'static str, &'static str)> {
    let all = [
        ("asleep-bar", "waits for many at once"),
        ("recv-bar", "recv"),
        ("send-bar", "send"),
        ("other-bar", "another call"),
        ("work-bar", "computes"),
    ];
    let occurs =
        |class: &str| calls.iter().any(|(_, span)| class == format!("{}-bar", class_of(span)));
    let meanings = all.into_iter().filter(|(class, _)| occurs(class));
    meanings.chain([("callback", "violet line: inside a callback")]).collect()
}

/// The calls of the moment, of all lanes, in the order in which they began.
pub(crate) fn calls<'a>(lanes: &[&'a Lane], moment: Moment) -> Vec<(&'a Lane, &'a Span)> {
    let of = |&lane: &&'a Lane| lane.spans.iter().map(move |span| (lane, span));
    let mut calls: Vec<_> = lanes.iter().flat_map(of).collect();
    calls.retain(|(_, span)| {
        let throughout = span.from < moment.from && span.to > moment.to;
        matches!(span.kind, Kind::Call | Kind::Work) && moment.meets(span) && !throughout
    });
    calls.sort_by(|a, b| a.1.from.total_cmp(&b.1.from));
    calls
}

/// What the callbacks of the moment are called, in the order in which they began.
pub(crate) fn callbacks<'a>(lanes: &[&'a Lane], moment: Moment) -> Vec<&'a str> {
    let spans = lanes.iter().flat_map(|lane| &lane.spans);
    let mut called: Vec<_> =
        spans.filter(|span| span.kind == Kind::Callback && moment.meets(span)).collect();
    called.sort_by(|a, b| a.from.total_cmp(&b.from));
    let mut names: Vec<&str> = Vec::new();
    for span in called {
        if !names.contains(&span.name.as_str()) {
            names.push(&span.name);
        }
    }
    names
}

/// The moment, drawn from `top` on, and where the drawing ends. `marks` are the times, in seconds, of what is called
/// `marked`.
pub(crate) fn moment(
    lanes: &[&Lane],
    moment: Moment,
    (marked, marks): (&str, &[f64]),
    top: f64,
    axis: Axis,
) -> (Markup, f64) {
    let lanes = lanes.iter().filter(|lane| lane.spans.iter().any(|span| moment.meets(span)));
    // The first lane has the most calls: it comes last, next to where they are written one by one.
    let mut lanes: Vec<_> = lanes.take(MOST_LANES).copied().collect();
    lanes.reverse();
    let first = top + 19.0;
    let bars = first + if marks.is_empty() { 0.0 } else { 17.0 };
    let end_of_lanes = bars + lanes.len() as f64 * LANE;
    let place = |wanted: &Lane| lanes.iter().position(|&lane| std::ptr::eq(lane, wanted));
    let drawing = html! {
        @for tick in ticks(axis.most) {
            (line("grid", (axis.x(tick), top + 15.0), (axis.x(tick), end_of_lanes)))
            (text("tick middle", axis.x(tick), top + 11.0, &tick.to_string()))
        }
        (text("tick", axis.right + 6.0, top + 11.0, "µs"))
        @if !marks.is_empty() { (text("", MARGIN, first + 11.0, marked)) }
        @for mark in marks {
            (triangle(axis.x(1e6 * (mark - moment.from)), first + 3.0))
        }
        @for (row, lane) in lanes.iter().enumerate() {
            (bars_of(lane, moment, bars + row as f64 * LANE, axis))
        }
        (one_by_one(&calls(&lanes, moment), moment, end_of_lanes, |lane, time| {
            let row = place(lane).unwrap_or_default();
            (axis.x(time), bars + row as f64 * LANE + BAR)
        }))
    };
    (drawing, end_of_lanes + FAN + CELL + CALLBACK)
}

fn triangle(x: f64, top: f64) -> Markup {
    let [left, right, y, tip] = [x - 4.0, x + 4.0, top, top + 9.0].map(px);
    html! { path.busy d=(format!("M{left} {y}L{right} {y}L{} {tip}Z", px(x))) {} }
}

/// A lane: its calls, and under them its callbacks.
fn bars_of(lane: &Lane, moment: Moment, top: f64, axis: Axis) -> Markup {
    let bar = |class: &str, span: &Span, top: f64, height: f64| {
        let (from, to) = moment.part(span);
        rect(class, axis.x(from), top, (axis.x(to) - axis.x(from)).max(1.0), height)
    };
    html! {
        (text("", MARGIN, top + 11.0, &lane.name))
        (rect("lane", axis.left, top, axis.right - axis.left, BAR))
        @for span in lane.spans.iter().filter(|span| moment.meets(span)) {
            @match span.kind {
                Kind::Callback => (bar("callback", span, top + BAR + 1.0, CALLBACK)),
                Kind::Asleep => (bar("await", span, top, BAR)),
                _ => (bar(&format!("{}-bar", class_of(span)), span, top, BAR)),
            }
        }
    }
}

/// The calls side by side, each with its name and how long it took, and a line from where it was; as many as fit.
fn one_by_one(
    calls: &[(&Lane, &Span)],
    moment: Moment,
    top: f64,
    origin: impl Fn(&Lane, f64) -> (f64, f64),
) -> Markup {
    let cell = top + FAN;
    let mut x = MARGIN;
    let mut cells = Vec::new();
    for &(lane, span) in calls {
        let took = duration(span.seconds());
        let characters = span.name.chars().count().max(took.chars().count());
        let width = 6.4 * characters as f64 + 6.0;
        if x + width > WIDTH - MARGIN {
            break;
        }
        cells.push((lane, span, took, x, width));
        x += width + 1.0;
    }
    html! {
        @for (lane, span, took, x, width) in &cells {
            @let (from, to) = moment.part(span);
            @let middle = x + 0.5 * width;
            (line("fan", origin(lane, 0.5 * (from + to)), (middle, cell)))
            (rect(class_of(span), *x, cell, *width, CELL))
            (rect(&format!("{}-bar", class_of(span)), *x, cell, *width, 3.0))
            (text("inside middle", middle, cell + 15.0, &span.name))
            (text("inside middle", middle, cell + 28.0, took))
            @if lane.spans.iter().any(|other| contains(other, span)) {
                (rect("callback", *x, cell + CELL + 1.0, width + 1.0, CALLBACK))
            }
        }
        @if cells.len() < calls.len() {
            (text("muted end", WIDTH - MARGIN, cell + CELL + 16.0, &format!("and {} more", calls.len() - cells.len())))
        }
    }
}

fn contains(callback: &Span, call: &Span) -> bool {
    callback.kind == Kind::Callback && callback.from <= call.from && call.to <= callback.to
}
