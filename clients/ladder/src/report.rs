//! One page with everything: the table, a timeline for each stage, and what idle peers cost. It needs no network and no
//! other file.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::table::cells;
use crate::timeline::{Kind, Lane, Timeline};
use crate::{Measurement, note, table::COLUMNS};

/// How wide the drawings are, in their own units.
const WIDTH: f64 = 1000.0;
/// How much of it the names on the left take.
const NAMES: f64 = 110.0;
/// How high a lane is, and the part of it that is drawn on.
const LANE: f64 = 18.0;
const BAR: f64 = 13.0;
/// More than this of a kind are only counted.
const MOST_LANES: usize = 12;

/// What a message costs beside so many idle peers.
#[derive(Clone, Debug)]
pub struct IdleCost {
    /// The stage.
    pub stage: &'static str,
    /// How many idle peers, and the server's CPU time for a message, in microseconds.
    pub points: Vec<(usize, f64)>,
}

/// What has to be said of figures that were measured together with a timeline.
pub const TRACED: &str =
    "CPU and switches include what it took the servers to write down the timelines.";

/// The page.
pub fn page(measurements: &[Measurement], idle: &[IdleCost], machine: &str) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "The ladder" }
                style { (PreEscaped(include_str!("report.css"))) }
            }
            body {
                h1 { "The ladder: every step under the same clients" }
                p { (machine) }
                div.wide { (figures(measurements)) }
                @if measurements.iter().any(|measurement| measurement.timeline.is_some()) { p { (TRACED) } }
                @for measurement in measurements {
                    h2 { (measurement.stage) }
                    @for note in note(measurement) { p { (note) } }
                    @if let Some(timeline) = &measurement.timeline { (drawing(timeline)) }
                }
                @if !idle.is_empty() {
                    h2 { "What idle peers cost" }
                    p {
                        "The server's CPU time for one message, in microseconds, beside so many peers who say nothing. "
                        "select is given the whole list again with every call; the others are told who has spoken."
                    }
                    (plot(idle))
                }
            }
        }
    }
    .into_string()
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

/// The server's threads and tasks above, the clients below, the time from left to right.
fn drawing(timeline: &Timeline) -> Markup {
    let server: Vec<_> = timeline.server.iter().take(MOST_LANES).collect();
    // In the order in which they were greeted: of a server that serves one after the other, a staircase.
    let mut clients: Vec<_> = timeline.clients.iter().collect();
    clients.sort_by(|a, b| greeted(a).total_cmp(&greeted(b)));
    clients.truncate(MOST_LANES);
    let rows = server.len() + clients.len() + 2;
    let height = rows as f64 * LANE + 20.0;
    let second = (WIDTH - NAMES) / timeline.seconds.max(1e-9);
    let ticks = ticks(timeline.seconds);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" {
            title { "What the server's threads and tasks and the clients did when" }
            @for tick in &ticks {
                @let x = NAMES + tick * second;
                line.tick x1=(x) x2=(x) y1="0" y2=(height - 18.0) {}
                text.tick x=(x) y=(height - 4.0) { (format!("{tick} s")) }
            }
            (lanes("server", &server, timeline.server.len(), 0, second))
            (lanes("clients", &clients, timeline.clients.len(), server.len() + 1, second))
        }
        p.legend {
            span.call { "in the kernel (asleep, if it is long)" } span.callback { "in a callback" }
            @if timeline.server.iter().flat_map(|lane| &lane.spans).any(|span| span.kind == Kind::Asleep) {
                span.asleep { "task: asleep at .await" }
            }
            span.unnoticed { "client: not noticed yet" } span.pausing { "client: pauses" }
            span.busy { "client: sends or receives" }
        }
    }
}

/// When a client was greeted, or else when it began, in seconds.
fn greeted(client: &Lane) -> f64 {
    // It connects before it waits for the greeting, and both are of this kind: connected it is at once, with any server.
    let unnoticed = client.spans.iter().rfind(|span| span.kind == Kind::Unnoticed);
    let greeted = unnoticed.map(|span| span.to);
    greeted.or(client.spans.first().map(|span| span.from)).unwrap_or_default()
}

fn lanes(heading: &str, lanes: &[&Lane], all: usize, first: usize, second: f64) -> Markup {
    let more =
        if all > lanes.len() { format!(", {} of {all}", lanes.len()) } else { String::new() };
    html! {
        text.heading x="0" y=(first as f64 * LANE + BAR) { (heading) (more) }
        @for (row, lane) in (first + 1..).zip(lanes) {
            @let y = row as f64 * LANE;
            text.name x="0" y=(y + BAR - 2.0) { (lane.name) }
            rect.lane x=(NAMES) y=(y) width=(WIDTH - NAMES) height=(BAR) {}
            @for span in &lane.spans {
                @let x = NAMES + span.from * second;
                // However short it was, it was.
                @let width = ((span.to - span.from) * second).max(0.7);
                rect class=(class(span.kind)) x=(format!("{x:.2}")) y=(y) width=(format!("{width:.2}")) height=(BAR) {
                    title { (span.name) ": " (format!("{:.1} ms, from {:.3} s", 1e3 * (span.to - span.from), span.from)) }
                }
                @if width > 8.0 * span.name.len() as f64 {
                    text.inside x=(format!("{:.2}", x + 3.0)) y=(y + BAR - 3.0) { (span.name) }
                }
            }
        }
    }
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Call => "call",
        Kind::Callback => "callback",
        Kind::Asleep => "asleep",
        Kind::Unnoticed => "unnoticed",
        Kind::Pausing => "pausing",
        Kind::Busy => "busy",
    }
}

/// Round numbers from zero up to `most`, at most ten of them.
fn ticks(most: f64) -> Vec<f64> {
    let steps =
        [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];
    let step = steps.into_iter().find(|step| most / step <= 10.0).unwrap_or(1000.0);
    (0..=(most / step) as usize).map(|i| (i as f64 * step * 100.0).round() / 100.0).collect()
}

fn plot(lines: &[IdleCost]) -> Markup {
    const HEIGHT: f64 = 300.0;
    let points = || lines.iter().flat_map(|line| &line.points);
    let most_peers = points().map(|point| point.0).max().unwrap_or(1).max(1) as f64;
    let most_time = points().map(|point| point.1).fold(1e-9, f64::max);
    let x = |peers: f64| NAMES + peers / most_peers * (WIDTH - NAMES - 190.0);
    let y = |time: f64| 10.0 + (1.0 - time / most_time) * (HEIGHT - 40.0);
    // Each beside the end of its line.
    let ends = lines.iter().map(|line| 4.0 + y(line.points.last().map_or(0.0, |point| point.1)));
    let names = spread(&ends.collect::<Vec<_>>(), HEIGHT - 22.0);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" {
            title { "CPU time for a message, by the number of idle peers" }
            @for tick in ticks(most_time) {
                line.tick x1=(NAMES) x2=(WIDTH - 190.0) y1=(y(tick)) y2=(y(tick)) {}
                text.value x=(NAMES - 6.0) y=(y(tick) + 4.0) { (tick) " µs" }
            }
            @for tick in ticks(most_peers) {
                text.tick x=(x(tick)) y=(HEIGHT - 8.0) { (tick) }
            }
            @for (number, line) in lines.iter().enumerate() {
                @let path: Vec<_> = line.points.iter().map(|&(peers, time)| format!("{:.1} {:.1}", x(peers as f64), y(time))).collect();
                path class=(format!("line line{number}")) d=(format!("M{}", path.join("L"))) {}
                @for &(peers, time) in &line.points {
                    circle class=(format!("line{number}")) cx=(x(peers as f64)) cy=(y(time)) r="3" {
                        title { (line.stage) ", " (peers) " idle peers: " (format!("{time:.1} µs")) }
                    }
                }
                @if let Some(&(peers, _)) = line.points.last() {
                    text.name x=(x(peers as f64) + 8.0) y=(format!("{:.1}", names[number])) { (line.stage) }
                }
            }
        }
    }
}

/// Where to write names that should be at these heights: none below `lowest`, and none over another. Downwards is more.
fn spread(wanted: &[f64], mut lowest: f64) -> Vec<f64> {
    const TEXT: f64 = 14.0;
    let mut from_below: Vec<_> = (0..wanted.len()).collect();
    from_below.sort_by(|&a, &b| wanted[b].total_cmp(&wanted[a]));
    let mut heights = wanted.to_vec();
    for i in from_below {
        heights[i] = wanted[i].min(lowest);
        lowest = heights[i] - TEXT;
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Span;

    #[test]
    fn ticks_are_round_and_not_too_many() {
        assert_eq!(ticks(2.2), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(ticks(11.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        for most in [0.05, 0.3, 7.0, 900.0, 4000.0] {
            assert!((2..=11).contains(&ticks(most).len()), "{most}: {:?}", ticks(most));
        }
    }

    #[test]
    fn a_lane_is_drawn_where_it_was_and_its_names_are_escaped() {
        let span = Span { name: "<recv>".to_owned(), kind: Kind::Call, from: 1.0, to: 2.0 };
        let lane = Lane { name: "a & b".to_owned(), spans: vec![span] };
        let timeline = Timeline { seconds: 2.0, server: vec![lane], clients: Vec::new() };
        let page = drawing(&timeline).into_string();
        assert!(page.contains("a &amp; b") && page.contains("&lt;recv&gt;"), "{page}");
        // The second half of what is right of the names.
        assert!(page.contains(r#"class="call" x="555.00" y="18" width="445.00""#), "{page}");
    }

    #[test]
    fn of_many_tasks_as_many_are_drawn_as_fit_below_the_threads() {
        let lane = |name: String| {
            let span =
                Span { name: "readable.await".to_owned(), kind: Kind::Asleep, from: 0.0, to: 1.0 };
            Lane { name, spans: vec![span] }
        };
        let tasks = (1..=20).map(|number| lane(format!("task {number}")));
        let server = std::iter::once(lane("main".to_owned())).chain(tasks).collect();
        let page = drawing(&Timeline { seconds: 1.0, server, clients: Vec::new() }).into_string();
        assert!(page.contains("server, 12 of 21"), "{page}");
        assert!(page.contains(">main<") && page.contains(">task 11<"), "{page}");
        assert!(!page.contains(">task 12<"), "{page}");
        assert!(page.contains(r#"<rect class="asleep""#), "{page}");
        assert!(page.contains("task: asleep at .await"), "{page}");
    }

    #[test]
    fn without_tasks_the_legend_has_none() {
        let page = drawing(&Timeline { seconds: 1.0, ..Timeline::default() }).into_string();
        assert!(page.contains("in the kernel") && !page.contains(".await"), "{page}");
    }

    #[test]
    fn clients_are_drawn_in_the_order_in_which_they_were_greeted() {
        let lane = |name: &str, greeted| {
            let span = |kind, from, to| Span { name: String::new(), kind, from, to };
            let spans = vec![span(Kind::Unnoticed, 0.0, 0.1), span(Kind::Unnoticed, 0.1, greeted)];
            Lane { name: name.to_owned(), spans }
        };
        let clients = vec![lane("late", 3.0), lane("first", 1.0), lane("next", 2.0)];
        let page = drawing(&Timeline { seconds: 4.0, server: Vec::new(), clients }).into_string();
        let at = |name: &str| page.find(&format!(">{name}<")).unwrap();
        assert!(at("first") < at("next") && at("next") < at("late"), "{page}");
    }

    #[test]
    fn names_are_neither_too_low_nor_one_over_the_other() {
        assert_eq!(spread(&[14.0, 277.0, 276.0], 278.0), [14.0, 277.0, 263.0]);
        assert_eq!(spread(&[290.0, 200.0], 278.0), [278.0, 200.0]);
        assert_eq!(spread(&[], 278.0), [0.0; 0]);
    }
}
