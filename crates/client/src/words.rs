//! Numbers and durations, as people write and read them.

use std::time::Duration;

/// "1 client", "2 clients".
pub fn count(number: usize, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{s}")
}

/// A duration in seconds: "5 s", "0.2 s".
pub fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// Reads an option that is a duration between these two: `5s`, `200ms`, or a number of seconds. For clap's `value_parser`.
pub fn duration(
    least: Duration,
    most: Duration,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let read = read(text).filter(|duration| (least..=most).contains(duration));
        read.ok_or_else(|| {
            let (least, most) = (seconds(least), seconds(most));
            format!("not a duration from {least} to {most}, such as 5s, 200ms, or 5 for seconds")
        })
    }
}

/// Reads an option by which pauses are multiplied. For clap's `value_parser`.
pub fn factor(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "not a number from 0 to 100".to_owned())
}

fn read(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    // Digits and a point: f64 also takes "inf" and "1e9", which no one means here.
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = number.parse().ok().filter(|_| is_plain)?;
    Duration::try_from_secs_f64(number * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_seconds_unless_it_says_otherwise() {
        let read = duration(Duration::from_millis(10), Duration::from_secs(60));
        for (text, milliseconds) in [
            ("5", 5000),
            ("5s", 5000),
            ("0.5", 500),
            ("1.5s", 1500),
            ("200ms", 200),
            ("60", 60_000),
        ] {
            assert_eq!(read(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        let nonsense =
            ["", "s", "ms", ".", "-1", "+1", "1 s", "5m", "inf", "NaN", "1e3", "9ms", "61", "0"];
        for text in nonsense.into_iter().chain(["99999999999999999999999999"]) {
            let error = read(text).unwrap_err();
            assert!(error.starts_with("not a duration from 0.01 s to 60 s"), "{text}: {error}");
        }
    }

    #[test]
    fn one_is_singular() {
        assert_eq!([count(0, "client"), count(1, "client")], ["0 clients", "1 client"]);
        assert_eq!(count(2, "message"), "2 messages");
    }
}
