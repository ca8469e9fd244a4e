//! A loop with its pool: one client asks about a large number, another about a small one.

use maud::html;
use serde::{Deserialize, Serialize};

use super::calls::{self, Moment, axis, callbacks, calls, meanings};
use super::lanes::{BAR, LANE, LEFT, RIGHT, lanes};
use super::{AXIS, Axis, HEADING, MARGIN, Picture, duration, legend, line, text};
use crate::timeline::{Lane, Timeline};

/// What was recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TwoNumbers {
    /// What it was recorded on.
    pub(crate) machine: String,
    pub(crate) large: u64,
    pub(crate) small: u64,
    /// The first client asks about the large number, the second about the small one.
    pub(crate) timeline: Timeline,
}

/// The whole run, and the moment of the small number. `None` if a client has no answer.
pub(crate) fn two_numbers(recorded: &TwoNumbers) -> Option<Picture> {
    let TwoNumbers { large, small, timeline, .. } = recorded;
    let question = |number: usize| timeline.clients.get(number)?.spans.first();
    let (slow, quick) = (question(0)?, question(1)?);
    let server: Vec<_> = timeline.server.iter().collect();
    let clients: Vec<_> = timeline.clients.iter().collect();

    let whole = Axis { left: LEFT, right: RIGHT, most: timeline.seconds };
    let (meaning, top) = legend(
        &[
            ("asleep", "thread: asleep in the call that is named"),
            ("call", "thread: a call that returned at once"),
            ("work", "thread: computes"),
            ("unnoticed", "client: waits for its answer"),
        ],
        HEADING + 2.0,
    );
    let clients_top = top + (server.len() + 1) as f64 * LANE;
    let bottom = clients_top + (clients.len() + 1) as f64 * LANE;
    let answered = format!("{} answered after {}", quick.name, duration(quick.seconds()));

    let moment = Moment { from: quick.from, to: quick.to + 20e-6 };
    let moment_top = bottom + AXIS + 14.0;
    let (calls_meaning, calls_top) = legend(&meanings(&calls(&server, moment)), moment_top + 22.0);
    let (close, end) =
        calls::moment(&server, moment, ("", &[]), calls_top, axis(moment.microseconds()));
    let called = format!("callbacks: {}", callbacks(&server, moment).join(", "));
    let body = html! {
        (meaning)
        (whole.draw(top, bottom, "seconds since client 1 asked"))
        (lanes("server", &server, top, whole))
        (lanes("clients", &clients, clients_top, whole))
        (line("mark", (whole.x(quick.from), top), (whole.x(quick.from), bottom)))
        (text("inside", whole.x(quick.to) + 5.0, bottom - LANE + BAR - 3.5, &answered))
        (text("strong", MARGIN, moment_top + 14.0, &format!("The dashed line, from close by: client 2 asks about {small}")))
        (calls_meaning)
        (close)
        (text("muted", MARGIN, end + 17.0, &called))
    };
    let worker = busiest(&server).map_or("a thread of the pool", |lane| lane.name.as_str());
    let caption = format!(
        "{worker} computes for {} whether {large} is prime. The loop sleeps meanwhile, and answers about {small} within {}.",
        duration(slow.seconds()),
        duration(quick.seconds())
    );
    Some(Picture {
        name: "isprime-pool".to_owned(),
        title: "The loop and its pool: a large number, and soon after it a small one".to_owned(),
        caption,
        height: end + 26.0,
        body,
    })
}

/// The lane that has computed the longest.
fn busiest<'a>(server: &[&'a Lane]) -> Option<&'a Lane> {
    let worked = |lane: &Lane| -> f64 {
        let work = lane.spans.iter().filter(|span| span.name == "work");
        work.map(|span| span.seconds()).sum()
    };
    server.iter().copied().max_by(|a, b| worked(a).total_cmp(&worked(b)))
}
