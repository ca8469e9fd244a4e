//! All stages on one axis: which clients waited, which were served, and when the run was over.

use client::count;
use maud::{Markup, html};

use super::{AXIS, Axis, MARGIN, Picture, WIDTH};
use super::{duration, legend, line, rect, text, width_of};
use crate::timeline::Timeline;
use crate::{Measurement, Stage};

/// Where the clients begin and end; what is right of them is for the elapsed time.
const LEFT: f64 = 232.0;
const RIGHT: f64 = WIDTH - 84.0;

/// How far apart the stages are, and how much of it their clients get.
const ROW: f64 = 50.0;
const CLIENTS: f64 = 38.0;

/// More clients than these would be thinner than a pixel.
const MOST_CLIENTS: usize = 38;

/// All that have a timeline.
pub(crate) fn overview(measurements: &[Measurement]) -> Picture {
    let traced = measurements.iter().filter_map(|m| Some((m, m.timeline.as_ref()?)));
    let rows: Vec<_> = traced.collect();
    let longest = rows.iter().map(|(m, _)| m.elapsed).fold(0.0, f64::max);
    let axis = Axis { left: LEFT, right: RIGHT, most: longest };
    let clients = rows.iter().map(|(m, _)| m.clients).max().unwrap_or_default();
    let ideal = rows.iter().map(|(m, _)| m.ideal).fold(0.0, f64::max);

    let (legend, top) =
        legend(&[("waiting", "waits for the server"), ("served", "is served")], 40.0);
    let alone = format!("one client alone: {}", duration(ideal));
    let beside_the_mark = (axis.x(ideal) + 6.0).min(WIDTH - MARGIN - width_of(&alone, 12.0));
    let top = top + 16.0;
    let bottom = top + rows.len() as f64 * ROW;
    let body = html! {
        (legend)
        (axis.draw(top, bottom, "seconds since the clients started"))
        @for (row, &(m, timeline)) in rows.iter().enumerate() {
            @let y = top + row as f64 * ROW + 0.5 * (ROW - CLIENTS);
            (about(m, y))
            (conversations(timeline, y, axis))
            (outcome(m, timeline, y, axis))
        }
        (line("mark", (axis.x(ideal), top - 4.0), (axis.x(ideal), bottom)))
        (text("muted halo", beside_the_mark, top - 4.0, &alone))
    };
    Picture {
        name: "overview".to_owned(),
        title: format!(
            "{} at once, {}: who waits?",
            count(clients, "client"),
            count(rows.len(), "server")
        ),
        caption: caption(&rows, clients),
        height: bottom + AXIS,
        body,
    }
}

/// The stage's name and its idea.
fn about(m: &Measurement, y: f64) -> Markup {
    let stage = Stage::named(&m.stage);
    let name = stage.map_or(m.stage.as_str(), |stage| stage.name);
    let idea = match m.clients < m.clients_asked_for {
        true => format!("only {} of {} clients", m.clients, m.clients_asked_for),
        false => stage.map_or("", |stage| stage.idea).to_owned(),
    };
    html! {
        @if let Some(number) = stage.and_then(|stage| stage.number()) {
            (text("strong", MARGIN, y + 15.0, number))
        }
        (text("strong", MARGIN + 20.0, y + 15.0, name))
        (text("muted", MARGIN + 20.0, y + 32.0, &idea))
    }
}

/// A line for each client, in the order of their greetings.
fn conversations(timeline: &Timeline, top: f64, axis: Axis) -> Markup {
    let all = timeline.clients_in_order();
    let clients: Vec<_> = all.iter().step_by(all.len().div_ceil(MOST_CLIENTS).max(1)).collect();
    let pitch = CLIENTS / clients.len().max(1) as f64;
    html! {
        @for (number, client) in clients.iter().enumerate() {
            @let (from, greeted, done) = (axis.x(0.0), axis.x(client.greeted()), axis.x(client.done()));
            @let (y, height) = (top + number as f64 * pitch, 0.8 * pitch);
            (rect("waiting", from, y, greeted - from, height))
            (rect("served", greeted, y, done - greeted, height))
        }
    }
}

/// How long it took, and on how many threads.
fn outcome(m: &Measurement, timeline: &Timeline, y: f64, axis: Axis) -> Markup {
    let x = axis.x(m.elapsed) + 8.0;
    let mut cost = count(m.threads.unwrap_or(timeline.threads()) as usize, "thread");
    let in_vain =
        format!("{cost}; {} of {} accepts and recvs found nothing", m.found_nothing, m.asked);
    if m.share_in_vain() > 0.5 && x + width_of(&in_vain, 12.0) < WIDTH {
        cost = in_vain;
    }
    html! {
        (text("strong halo", x, y + 15.0, &duration(m.elapsed)))
        (text("muted halo", x, y + 32.0, &cost))
    }
}

fn caption(rows: &[(&Measurement, &Timeline)], clients: usize) -> String {
    let group = |one_after_another: bool| {
        let those = rows.iter().filter(|(m, _)| m.is_one_after_another() == one_after_another);
        let times: Vec<_> = those.map(|(m, _)| m.elapsed).collect();
        let least = duration(times.iter().copied().fold(f64::MAX, f64::min));
        let most = duration(times.iter().copied().fold(0.0, f64::max));
        let range = if least == most { most } else { format!("{least} to {most}") };
        let serve = if times.len() == 1 { "serves" } else { "serve" };
        (!times.is_empty()).then(|| (format!("{} {serve}", count(times.len(), "server")), range))
    };
    let mut caption = format!("{} connect at the same moment.", count(clients, "client"));
    if let Some((servers, times)) = group(true) {
        caption += &format!(" {servers} one after another, which takes {times}: a staircase.");
    }
    if let Some((servers, times)) = group(false) {
        caption += &format!(" {servers} all at the same time, which takes {times}.");
    }
    caption
}
