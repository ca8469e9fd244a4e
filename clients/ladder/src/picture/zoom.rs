//! The servers that wait for many at once, in the millisecond in which all clients send their second message.

use client::count;
use maud::html;

use super::calls::{self, Moment, callbacks, calls, is_wait, meanings};
use super::{HEADING, MARGIN, Picture, WIDTH, duration, legend, text};
use crate::timeline::{Lane, Timeline};
use crate::{Measurement, Stage};

/// No moment is longer than this, in seconds.
const LONGEST: f64 = 0.001;

/// What there is to say of one server.
struct Server<'a> {
    name: String,
    lanes: Vec<&'a Lane>,
    /// When the clients sent their second message.
    sent: Vec<f64>,
    /// Whether all of them did in that moment.
    all_sent: bool,
    moment: Moment,
}

/// Those of the servers that wait for many at once; if none does, there is no picture.
pub(crate) fn zoom(measurements: &[Measurement]) -> Option<Picture> {
    let servers: Vec<_> = measurements.iter().filter_map(server).collect();
    let longest = servers.iter().map(|server| server.moment.microseconds()).fold(0.0, f64::max);
    let first = servers.first()?;
    let axis = calls::axis(longest);
    let all: Vec<_> =
        servers.iter().flat_map(|server| calls(&server.lanes, server.moment)).collect();
    let (meaning, mut top) = legend(&meanings(&all), HEADING + 2.0);
    let mut drawings = Vec::new();
    for server in &servers {
        top += 8.0;
        let (drawing, bottom) = calls::moment(
            &server.lanes,
            server.moment,
            ("clients send", &server.sent),
            top + 20.0,
            axis,
        );
        drawings.push((server, top, drawing));
        top = bottom + 16.0;
    }
    let at = duration(first.moment.from);
    let body = html! {
        (meaning)
        @for (server, top, drawing) in &drawings {
            (text("strong", MARGIN, top + 14.0, &server.name))
            (text("muted end", WIDTH - MARGIN, top + 14.0, &summary(server)))
            (drawing)
        }
    };
    let within = match servers.iter().all(|server| server.all_sent) {
        true => format!(" within {}", duration(servers.iter().map(spread).fold(0.0, f64::max))),
        false => String::new(),
    };
    let summaries: Vec<_> =
        servers.iter().map(|server| format!("{}: {}", server.name, summary(server))).collect();
    let caption = format!(
        "At t = {at} the clients send their second message{within}, and the server wakes up. {}.",
        summaries.join("; ")
    );
    let title = format!("The moment after t = {at}: every call, in microseconds");
    Some(Picture { name: "steps-5-to-7".to_owned(), title, caption, height: top, body })
}

/// `None` if it does not wait for many at once, or if its clients sent no second message.
fn server(m: &Measurement) -> Option<Server<'_>> {
    let timeline = m.timeline.as_ref()?;
    let stage = Stage::named(&m.stage);
    let name = stage.map_or(m.stage.clone(), |stage| match stage.number() {
        Some(number) => format!("{number} {}", stage.name),
        None => stage.name.to_owned(),
    });
    let lanes: Vec<_> = timeline.server.iter().collect();
    lanes.iter().find(|lane| lane.spans.iter().any(|span| is_wait(&span.name)))?;
    let mut sent = second_messages(timeline);
    sent.sort_by(f64::total_cmp);
    let (from, last) = (*sent.first()?, *sent.last()?);
    // It is over when the server goes to sleep again, with all served.
    let spans = lanes.iter().flat_map(|lane| &lane.spans);
    let asleep =
        spans.filter(|span| is_wait(&span.name) && span.from > last && span.seconds() > LONGEST);
    let to = asleep.map(|span| span.from + 20e-6).fold(f64::MAX, f64::min);
    let moment = Moment { from, to: to.min(from + LONGEST) };
    let all_sent = last < moment.to;
    sent.retain(|&time| time < moment.to);
    Some(Server { name, lanes, sent, all_sent, moment })
}

fn second_messages(timeline: &Timeline) -> Vec<f64> {
    let second = |client: &Lane| {
        let sent = client.spans.iter().filter(|span| span.name == "sending");
        sent.map(|span| span.from).nth(1)
    };
    timeline.clients.iter().filter_map(second).collect()
}

fn spread(server: &Server<'_>) -> f64 {
    server.sent.last().zip(server.sent.first()).map_or(0.0, |(last, first)| last - first)
}

/// How many calls there are of each name, and what the callbacks are called.
fn summary(server: &Server<'_>) -> String {
    let calls = calls(&server.lanes, server.moment);
    let mut names: Vec<(&str, usize)> = Vec::new();
    for (_, span) in &calls {
        match names.iter_mut().find(|(name, _)| *name == span.name) {
            Some((_, number)) => *number += 1,
            None => names.push((&span.name, 1)),
        }
    }
    let names: Vec<_> = names.iter().map(|(name, number)| format!("{number} {name}")).collect();
    let callbacks = match callbacks(&server.lanes, server.moment)[..] {
        [] => String::new(),
        ref callbacks => format!(", callbacks: {}", callbacks.join(", ")),
    };
    format!("{}: {}{callbacks}", count(calls.len(), "call"), names.join(", "))
}
