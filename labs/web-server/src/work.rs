//! The work of a request, apart from the server's own.

use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use server::shutdown;

/// The work of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It sleeps for this time, as if it waited for a database. It needs no core.
    Sleep(Duration),
    /// It computes for this time on a core, as if it scaled a picture. If it shares the core, it takes longer.
    Compute(Duration),
}

impl Work {
    /// Does the work on the calling thread, and returns how long that took. Returns none if the server was told to
    /// stop, and one more second was not enough.
    pub fn perform(self) -> Option<Duration> {
        let started = Instant::now();
        let done = match self {
            Work::Sleep(duration) => loop {
                let left = duration.saturating_sub(started.elapsed());
                if left.is_zero() {
                    break true;
                } else if shutdown::expired() {
                    break false;
                }
                server::sys::sleep(left);
            },
            Work::Compute(duration) => {
                let enough = on_core() + duration;
                while on_core() < enough && !shutdown::expired() {
                    std::hint::black_box((0..1000_u64).fold(0, u64::wrapping_add));
                }
                on_core() >= enough
            }
        };
        done.then(|| started.elapsed())
    }
}

/// How long this thread has had a core so far. See clock_gettime(2).
fn on_core() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::MAX, Duration::from)
}

/// `5s`, `200ms`, `0`: asleep. `cpu:200ms`: on a core.
impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("cpu:") {
            Some(rest) => Ok(Work::Compute(duration(rest)?)),
            None => Ok(Work::Sleep(duration(text)?)),
        }
    }
}

/// Reads a duration from the command line: `5s`, `200ms`, `1m 30s`, `0`; an hour at most.
///
/// # Errors
/// The text is not such a duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(3600);
    let duration = if text == "0" { Ok(Duration::ZERO) } else { humantime::parse_duration(text) };
    let duration = duration.ok().filter(|duration| *duration <= LONGEST);
    duration.ok_or_else(|| "a duration such as 5s or 200ms is needed, an hour at most".to_owned())
}

/// Reads a time limit: a duration that is not 0.
///
/// # Errors
/// The text is not such a duration.
pub fn patience(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() { Err("more than 0 is needed".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_on_the_command_line() {
        assert_eq!("5s".parse(), Ok(Work::Sleep(Duration::from_secs(5))));
        assert_eq!("0".parse(), Ok(Work::Sleep(Duration::ZERO)));
        assert_eq!("cpu:200ms".parse(), Ok(Work::Compute(Duration::from_millis(200))));
        for text in ["", "5", "5x", "-5s", "cpu:", "gpu:5s", "61m"] {
            assert!(text.parse::<Work>().is_err(), "{text}");
        }
    }

    #[test]
    fn it_takes_as_long_as_it_says() {
        let duration = Duration::from_millis(20);
        assert!(Work::Sleep(duration).perform() >= Some(duration));
        let before = on_core();
        Work::Compute(duration).perform();
        assert!(on_core() - before >= duration);
    }
}
