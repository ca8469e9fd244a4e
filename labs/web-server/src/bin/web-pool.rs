//! A queue with a bound, and a pool of workers: more workers when the queue fills, fewer when it stays empty.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use web_server::reception::{self, Settings, WhenFull};
use web_server::sizing::Sizing;
use web_server::{Options, options, site, work};

/// A web server with a bounded queue and a pool of workers that grows and shrinks; /status shows it
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,

    /// How many requests may wait for a worker
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    queue: u32,

    /// How many workers there may be
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_workers: u32,

    /// How long the queue must have been nearly empty before a worker retires
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = work::duration)]
    cooldown: Duration,

    /// What happens to a request when the queue is full
    #[arg(long, value_enum, default_value_t = WhenFull::Wait)]
    when_full: WhenFull,

    /// How many connections there may be, busy or not
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_connections: u32,
}

fn main() -> ExitCode {
    let arguments: Arguments = options::parse();
    let Arguments { options, queue, max_workers, cooldown, when_full, max_connections } = arguments;
    let settings = Settings {
        site: options.site(false),
        sizing: Sizing::new(queue as usize, max_workers as usize, cooldown),
        when_full,
        max_connections: max_connections as usize,
        read_timeout: options.read_timeout,
    };
    site::log_panics();
    server::run(&options.server, |listener| reception::serve(listener, settings))
}
