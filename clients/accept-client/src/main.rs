//! `accept-client HOST PORT MESSAGE`: see the library.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use accept_client::{Options, Visit, run};
use clap::Parser;
use client::count;

/// Connects, says one line, prints what comes back; with --count again and again
#[derive(Parser)]
struct Arguments {
    /// The server's name or address
    host: String,

    /// The server's port
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// What to say, nothing if it is empty; with --count it may be left out: msg001, msg002 and so on
    #[arg(required_unless_present = "count")]
    message: Option<String>,

    /// How many connections, one message each
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: Option<u32>,

    /// How many of them at a time
    #[arg(short, long, value_name = "C", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    concurrent: u32,

    /// How long to wait after each before the next: 2ms, 1s, or a number of seconds
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = client::duration(Duration::ZERO, Duration::from_secs(60)))]
    pause: Duration,

    /// How long the server may be silent: 10s, 500ms, or a number of seconds
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = client::duration(Duration::from_millis(1), Duration::from_secs(3600)))]
    timeout: Duration,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    client::exit_code(try_main(&arguments))
}

/// Whether every visit went well.
fn try_main(arguments: &Arguments) -> io::Result<bool> {
    let options = Options {
        addresses: client::resolve(&arguments.host, arguments.port)?.collect(),
        count: arguments.count.unwrap_or(1) as usize,
        concurrent: arguments.concurrent as usize,
        pause: arguments.pause,
        timeout: arguments.timeout,
    };
    let message = |number| match &arguments.message {
        Some(text) if text.is_empty() => Vec::new(),
        Some(text) => format!("{text}\n").into_bytes(),
        None => format!("msg{number:03}\n").into_bytes(),
    };
    client::raise_descriptor_limit()?;
    let started = Instant::now();
    let failed = AtomicUsize::new(0);
    run(&options, message, |visit| {
        failed.fetch_add(visit.reply.is_err().into(), Ordering::Relaxed);
        print(&visit);
    })?;
    let failed = failed.into_inner();
    if arguments.count.is_some() {
        let (visits, elapsed) =
            (count(options.count, "connection"), started.elapsed().as_secs_f64());
        let line = format!("{visits}, {failed} failed, {elapsed:.2} s");
        client::printed(writeln!(io::stdout(), "{line}"))?;
    }
    Ok(failed == 0)
}

fn print(visit: &Visit) {
    match &visit.reply {
        Ok(reply) if reply.is_empty() => {}
        Ok(reply) => {
            let mut stdout = io::stdout().lock();
            let _ = stdout.write_all(reply);
            if !reply.ends_with(b"\n") {
                let _ = stdout.write_all(b"\n");
            }
        }
        Err(error) => {
            client::tell!("error: connection {}: {}", visit.number, client::describe(error))
        }
    }
}
