//! The command line that every server understands.

use std::path::PathBuf;
use std::time::Duration;

/// What every stage can be told. A stage flattens it into its own arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The port to listen on; 0 lets the kernel pick a free one
    #[arg(default_value_t = 8080)]
    pub port: u16,

    /// The address to listen on; anything but loopback lets the network in
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,

    /// How many connections may wait, established, for accept (the kernel caps it: net.core.somaxconn)
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(i32).range(1..))]
    pub backlog: i32,

    /// How many clients may be connected at a time; the next one is refused
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_clients: Option<u32>,

    /// End a client that has taken and given nothing for so long
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub idle_timeout: Option<Duration>,

    /// Log every call that can wait
    #[arg(short, long)]
    pub verbose: bool,

    /// Log nothing but warnings
    #[arg(short, long)]
    pub quiet: bool,

    /// Write every call and callback to FILE as Chrome trace events (open it in Perfetto)
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// Stop, as on SIGTERM, when the first client has left
    #[arg(long)]
    pub once: bool,

    /// Print the summary as one JSON object on stdout at the end
    #[arg(long)]
    pub stats: bool,
}

impl Options {
    /// The same options, with every call that can wait logged, whether or not that was asked for.
    pub fn verbose(&self) -> Self {
        Options { verbose: true, ..self.clone() }
    }
}

/// `2`, `2s` or `500ms`.
fn seconds(text: &str) -> Result<Duration, String> {
    const A_DAY: f64 = 86_400.0;
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1e-3),
        (None, Some(number)) => (number, 1.0),
        (None, None) => (text, 1.0),
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * unit);
    match seconds.filter(|seconds| (0.01..=A_DAY).contains(seconds)) {
        Some(seconds) => Ok(Duration::from_secs_f64(seconds)),
        None => Err("seconds from 0.01 to 86400 are needed, as 2, 2s or 500ms".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_seconds_unless_it_says_otherwise() {
        for (text, milliseconds) in [("2", 2000), ("0.5", 500), ("2s", 2000), ("500ms", 500)] {
            assert_eq!(seconds(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for nonsense in ["", "s", "ms", "0", "-1", "inf", "nan", "1e9", "2m", "2 s"] {
            assert!(seconds(nonsense).is_err(), "{nonsense}");
        }
    }
}
