//! What a program is doing, for whoever waits for it: a line that changes on a terminal, a line of a log elsewhere.

use std::io::{self, IsTerminal};
use std::time::Duration;

pub use indicatif::ProgressBar;
use indicatif::ProgressStyle;

use crate::count;

/// How often a line on a terminal is drawn again.
const TICK: Duration = Duration::from_millis(100);

/// Something that has `number` parts, each of them a `part`. A log gets a line now, so that it shows what takes so long.
pub fn bar(name: &str, number: usize, part: &str) -> ProgressBar {
    let parts = count(number, part);
    if !io::stderr().is_terminal() {
        crate::tell!("{name}: {parts}...");
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(number as u64).with_message(name.to_owned());
    styled(bar, &format!("{{msg}} {{bar:20}} {{pos}} of {parts}, {{elapsed}}"))
}

/// Something that takes a while, with nothing to count. On a terminal only.
pub fn spinner(name: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    styled(ProgressBar::new_spinner().with_message(name.to_owned()), "{elapsed:>4} {wide_msg}")
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}
