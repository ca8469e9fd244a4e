//! What a message costs beside more and more idle peers.

use maud::html;

use super::{AXIS, Axis, HEADING, MARGIN, Picture, WIDTH};
use super::{line, px, text, ticks, width_of};

/// What a message costs beside so many idle peers.
#[derive(Clone, Debug)]
pub struct IdleCost {
    /// The stage.
    pub stage: &'static str,
    /// How many idle peers, and the server's CPU time for a message, in microseconds.
    pub points: Vec<(usize, f64)>,
}

const TOP: f64 = HEADING + 30.0;
const BOTTOM: f64 = TOP + 240.0;
const LEFT: f64 = 60.0;

/// A line for each of the servers.
pub(crate) fn idle(lines: &[IdleCost]) -> Picture {
    let points = || lines.iter().flat_map(|line| &line.points);
    let most_peers = points().map(|point| point.0).max().unwrap_or(1).max(1) as f64;
    let most_time = points().map(|point| point.1).fold(1e-9, f64::max);
    let names = lines.iter().map(|line| width_of(line.stage, 12.0)).fold(0.0, f64::max);
    let x = Axis { left: LEFT, right: WIDTH - MARGIN - 10.0 - names, most: most_peers };
    let y = |time: f64| BOTTOM - time / most_time * (BOTTOM - TOP);
    // Each beside the end of its line.
    let ends = lines.iter().map(|line| 4.0 + y(line.points.last().map_or(0.0, |point| point.1)));
    let heights = spread(&ends.collect::<Vec<_>>(), BOTTOM + 4.0);
    let body = html! {
        (text("muted", MARGIN, TOP - 12.0, "CPU time for a message, in µs"))
        @for tick in ticks(most_time) {
            (line("grid", (LEFT, y(tick)), (x.right, y(tick))))
            (text("tick end", LEFT - 6.0, y(tick) + 4.0, &tick.to_string()))
        }
        (x.draw(BOTTOM, BOTTOM, "idle peers"))
        @for (number, line) in lines.iter().enumerate() {
            @let points: Vec<_> = line.points.iter().map(|&(peers, time)| (x.x(peers as f64), y(time))).collect();
            @let path: Vec<_> = points.iter().map(|&(x, y)| format!("{} {}", px(x), px(y))).collect();
            path class=(format!("line line{number}")) d=(format!("M{}", path.join("L"))) {}
            @for (&(x, y), (peers, time)) in points.iter().zip(&line.points) {
                circle class=(format!("dot{number}")) cx=(px(x)) cy=(px(y)) r="3" {
                    title { (line.stage) ", " (peers) " idle peers: " (format!("{time:.1} µs")) }
                }
            }
            (text("", x.right + 8.0, heights[number], line.stage))
        }
    };
    Picture {
        name: "idle-peers".to_owned(),
        title: "What idle peers cost".to_owned(),
        caption: "The server's CPU time for one message, beside so many peers who say nothing. select is given the whole \
                  list again with every call; the others are told who has spoken."
            .to_owned(),
        height: BOTTOM + AXIS,
        body,
    }
}

/// Where to write names that should be at these heights: not below `lowest`, and not over one another. Downwards is
/// more.
pub(crate) fn spread(wanted: &[f64], mut lowest: f64) -> Vec<f64> {
    const TEXT: f64 = 15.0;
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

    #[test]
    fn names_are_neither_too_low_nor_one_over_the_other() {
        assert_eq!(spread(&[14.0, 277.0, 276.0], 278.0), [14.0, 277.0, 262.0]);
        assert_eq!(spread(&[290.0, 200.0], 278.0), [278.0, 200.0]);
        assert_eq!(spread(&[], 278.0), [0.0; 0]);
    }
}
