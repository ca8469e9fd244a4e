//! Drawings. Each is one SVG: it stands in the report's page, or is a file of its own.
//!
//! What is drawn depends on the recorded times alone, and numbers are printed with a fixed precision: the same recording
//! gives the same bytes on every machine.

use maud::{Markup, PreEscaped, html};

pub(crate) mod calls;
pub(crate) mod crowd;
pub(crate) mod idle;
pub(crate) mod lanes;
pub(crate) mod overview;
pub(crate) mod two_numbers;
pub(crate) mod zoom;

/// The style of all drawings, light and dark.
pub(crate) const STYLE: &str = include_str!("picture.css");

/// How wide they are; in pixels too, where there is room.
pub(crate) const WIDTH: f64 = 800.0;

/// What stays free on the left and on the right.
pub(crate) const MARGIN: f64 = 16.0;

/// How far down the heading reaches.
pub(crate) const HEADING: f64 = 38.0;

/// A drawing.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its name, also as a file.
    pub name: String,
    /// What it is.
    pub title: String,
    /// What it shows, in words: also for readers who cannot see it.
    pub caption: String,
    height: f64,
    body: Markup,
}

impl Picture {
    /// As a part of a page that has the [`STYLE`].
    pub(crate) fn inline(&self) -> Markup {
        self.svg(None, html! {})
    }

    /// As a file, which needs nothing else.
    pub fn file(&self) -> String {
        let style = html! { style { (PreEscaped(STYLE)) } };
        let mut text = self.svg(Some("http://www.w3.org/2000/svg"), style).into_string();
        for empty in ["rect", "line", "path", "circle"] {
            text = text.replace(&format!("\"></{empty}>"), "\"/>");
        }
        // A line for each element, so that two versions can be compared.
        text.replace("><", ">\n<") + "\n"
    }

    fn svg(&self, namespace: Option<&str>, style: Markup) -> Markup {
        let [title, caption] = ["title", "caption"].map(|part| format!("{}-{part}", self.name));
        let height = px(self.height);
        html! {
            svg xmlns=[namespace] viewBox=(format!("0 0 {WIDTH} {height}")) width=(WIDTH) height=(height) role="img"
                aria-labelledby=(format!("{title} {caption}")) {
                title id=(title) { (self.title) }
                desc id=(caption) { (self.caption) }
                (style)
                rect.paper width=(WIDTH) height=(height) rx="6" {}
                (text("heading", MARGIN, 26.0, &self.title))
                (self.body)
            }
        }
    }
}

/// A coordinate.
pub(crate) fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A line of text whose baseline begins there (or ends, or is centred, as the class says).
pub(crate) fn text(class: &str, x: f64, y: f64, text: &str) -> Markup {
    html! { text class=(class) x=(px(x)) y=(px(y)) { (text) } }
}

pub(crate) fn rect(class: &str, x: f64, y: f64, width: f64, height: f64) -> Markup {
    html! { rect class=(class) x=(px(x)) y=(px(y)) width=(px(width)) height=(px(height)) {} }
}

pub(crate) fn line(class: &str, from: (f64, f64), to: (f64, f64)) -> Markup {
    html! { line class=(class) x1=(px(from.0)) y1=(px(from.1)) x2=(px(to.0)) y2=(px(to.1)) {} }
}

/// How wide a text is at the most, whatever the font is.
pub(crate) fn width_of(text: &str, size: f64) -> f64 {
    0.62 * size * text.chars().count() as f64
}

/// A duration in the unit that suits it.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        _ if seconds < 9.95e-6 => format!("{:.1} µs", 1e6 * seconds),
        _ if seconds < 999.5e-6 => format!("{:.0} µs", 1e6 * seconds),
        _ if seconds < 0.9995 => format!("{:.1} ms", 1e3 * seconds),
        _ => format!("{seconds:.2} s"),
    }
}

/// Colours and what they mean, in as many rows as it takes; returns also where the last row ends.
pub(crate) fn legend(entries: &[(&str, &str)], top: f64) -> (Markup, f64) {
    let (mut x, mut y) = (MARGIN, top);
    let mut placed = Vec::new();
    for &(class, meaning) in entries {
        let width = 18.0 + width_of(meaning, 12.0) + 14.0;
        if x > MARGIN && x + width > WIDTH {
            (x, y) = (MARGIN, y + 19.0);
        }
        placed.push((class, meaning, x, y));
        x += width;
    }
    let markup = html! {
        @for (class, meaning, x, y) in placed {
            (rect(class, x, y, 12.0, 12.0))
            (text("", x + 18.0, y + 10.5, meaning))
        }
    };
    (markup, y + 19.0)
}

/// What is from left to right: seconds, microseconds, idle peers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) left: f64,
    pub(crate) right: f64,
    /// The value at its right end; at its left end it is zero.
    pub(crate) most: f64,
}

impl Axis {
    pub(crate) fn x(self, value: f64) -> f64 {
        self.left + value / self.most.max(1e-9) * (self.right - self.left)
    }

    /// Its grid, the numbers under it, and what they count.
    pub(crate) fn draw(self, top: f64, bottom: f64, title: &str) -> Markup {
        html! {
            @for tick in ticks(self.most) {
                @let x = self.x(tick);
                (line("grid", (x, top), (x, bottom)))
                (text("tick middle", x, bottom + 14.0, &tick.to_string()))
            }
            (text("muted middle", 0.5 * (self.left + self.right), bottom + 31.0, title))
        }
    }
}

/// How high an axis is with all that is under its grid.
pub(crate) const AXIS: f64 = 40.0;

/// Round numbers from zero up to `most`, at most twelve of them.
pub(crate) fn ticks(most: f64) -> Vec<f64> {
    let steps =
        [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];
    let step = steps.into_iter().find(|step| most / step < 12.0).unwrap_or(1000.0);
    (0..=(most / step) as usize).map(|i| (i as f64 * step * 100.0).round() / 100.0).collect()
}

#[cfg(test)]
mod tests;
