//! `accesses HOST PORT -n N`: see the library.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use accesses::{Access, Ramp, Row, Target, histogram, median, ramp, together};
use clap::Parser;
use serde_json::json;

/// Gets a page N times at once, or with --ramp in a crowd that grows and shrinks; prints how long it took
#[derive(Parser)]
struct Arguments {
    /// The server's name or address
    host: String,

    /// The server's port
    port: u16,

    /// How many accesses, all at once
    #[arg(short = 'n', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=5000))]
    count: u32,

    /// The page
    #[arg(long, default_value = "/", value_parser = path)]
    path: String,

    /// How long an access may take: 60s, 500ms, or a number of seconds
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = client::duration(MILLISECOND, HOUR))]
    timeout: Duration,

    /// Instead: users who get the page again and again, A of them at first, then more, up to B, then fewer again
    #[arg(long, value_name = "A..B", value_parser = range, conflicts_with = "count")]
    ramp: Option<(usize, usize)>,

    /// How long the ramp takes, up and down
    #[arg(long, value_name = "TIME", default_value = "60s", requires = "ramp", value_parser = client::duration(100 * MILLISECOND, HOUR))]
    over: Duration,

    /// How often the ramp prints a row
    #[arg(long, value_name = "TIME", default_value = "1s", requires = "ramp", value_parser = client::duration(10 * MILLISECOND, MINUTE))]
    every: Duration,

    /// How long to wait after the ramp for the server's pool to shrink to one worker
    #[arg(long, value_name = "TIME", default_value = "0s", requires = "ramp", value_parser = client::duration(Duration::ZERO, HOUR))]
    after: Duration,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Print the summary only
    #[arg(short, long)]
    quiet: bool,
}

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn path(text: &str) -> Result<String, String> {
    let right = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    if right {
        Ok(text.to_owned())
    } else {
        Err("a path begins with / and has no blanks".to_owned())
    }
}

fn range(text: &str) -> Result<(usize, usize), String> {
    let ends =
        text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    ends.filter(|&(from, to)| (1..=to).contains(&from) && to <= 2000)
        .ok_or_else(|| "a range such as 1..100 is needed, from 1 to 2000 users".to_owned())
}

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = try_main(&arguments);
    if STOP.load(Ordering::Relaxed) {
        client::tell!("stopped");
        return ExitCode::from(client::so_far::STOPPED);
    }
    client::exit_code(outcome)
}

/// Whether every access ended well.
fn try_main(arguments: &Arguments) -> io::Result<bool> {
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed)).map_err(io::Error::other)?;
    client::raise_descriptor_limit()?;
    // An unknown name is one error, and not N errors.
    let _ = client::resolve(&arguments.host, arguments.port)?;
    let Arguments { timeout, over, every, after, .. } = *arguments;
    let target = Target::new(&arguments.host, arguments.port, &arguments.path, timeout);
    let ended_well = match arguments.ramp {
        None => at_once(arguments, &target)?,
        Some((from, to)) => up_and_down(arguments, &target, &Ramp { from, to, over, every, after }),
    };
    match LOST.load(Ordering::Relaxed) {
        true => Err(io::Error::other("some of the output could not be written")),
        false => Ok(ended_well),
    }
}

/// Whether some of the output was lost.
static LOST: AtomicBool = AtomicBool::new(false);

fn print(text: &str) {
    if client::printed(writeln!(io::stdout(), "{text}")).is_err() {
        LOST.store(true, Ordering::Relaxed);
    }
}

fn at_once(arguments: &Arguments, target: &Target) -> io::Result<bool> {
    let count = arguments.count as usize;
    let started = Instant::now();
    let accesses = together(target, count, &STOP, |access| {
        if !arguments.quiet && !arguments.json {
            print(&line(access));
        }
    })?;
    let elapsed = started.elapsed().as_secs_f64();
    let mut times: Vec<_> = accesses.iter().filter(|a| a.succeeded()).map(|a| a.seconds).collect();
    let refused = accesses.iter().filter(|access| access.status == Some(503)).count();
    let failed = count - times.len();
    if arguments.json {
        print(&json!({ "elapsed": elapsed, "failed": failed, "accesses": accesses }).to_string());
        return Ok(failed == 0);
    }
    let mut summary = format!(
        "{} in {elapsed:.2} s, {failed} failed",
        if count == 1 { "1 access".to_owned() } else { format!("{count} accesses") }
    );
    if refused > 0 {
        summary += &format!(", {refused} of them turned away (503)");
    }
    if accesses.len() < count {
        summary += &format!(", {} given up", count - accesses.len());
    }
    print(&summary);
    if let Some(median) = median(&mut times) {
        let (least, most) = (times[0], times[times.len() - 1]);
        print(&format!("shortest {least:.3} s, median {median:.3} s, longest {most:.3} s"));
        let bars = histogram(&times);
        let largest = bars.iter().map(|bar| bar.1).max().unwrap_or(1);
        for (end, count) in bars {
            let row = format!("up to {end:.3} s {count:5} {}", bar(count, largest, 50));
            print(row.trim_end());
        }
    }
    Ok(failed == 0)
}

fn line(access: &Access) -> String {
    let Access { number, seconds, .. } = access;
    match (access.status, &access.error) {
        (Some(status), _) => format!("access {number}: {status} after {seconds:.3} s"),
        (None, error) => {
            format!("access {number}: {} after {seconds:.3} s", error.as_deref().unwrap_or("?"))
        }
    }
}

fn up_and_down(arguments: &Arguments, target: &Target, settings: &Ramp) -> bool {
    let show = !arguments.quiet && !arguments.json;
    if show {
        print(
            " seconds  users  answered    503  failed    median  workers              queue (+ outside)",
        );
    }
    let rows = ramp(target, settings, &STOP, |row| {
        if show {
            print(columns(row).trim_end());
        }
    });
    let sum = |figure: fn(&Row) -> usize| rows.iter().map(figure).sum::<usize>();
    let (answered, refused, failed) = (sum(|r| r.answered), sum(|r| r.refused), sum(|r| r.failed));
    if arguments.json {
        print(
            &json!({ "answered": answered, "refused": refused, "failed": failed, "rows": rows })
                .to_string(),
        );
    } else {
        print(&format!("{answered} answered, {refused} turned away (503), {failed} failed"));
        if let Some(error) = rows.iter().find_map(|row| row.error.as_ref()) {
            client::tell!("error: {error}");
        }
    }
    failed == 0 && answered + refused > 0
}

fn columns(row: &Row) -> String {
    let median = row.median.map_or("-".to_owned(), |median| format!("{median:.3} s"));
    let Row { seconds, users, answered, refused, failed, .. } = row;
    let load = format!("{seconds:8.1} {users:6} {answered:9} {refused:6} {failed:7} {median:>9}");
    match row.pool {
        None => load,
        Some(pool) => {
            let workers = format!("{:3} {}", pool.workers, bar(pool.workers, 16, 16));
            let outside =
                if pool.outside > 0 { format!(" + {}", pool.outside) } else { String::new() };
            format!("{load}  {workers:20} {:3} {}{outside}", pool.queue, bar(pool.queue, 20, 20))
        }
    }
}

/// A bar for `count`, if the bar for `largest` has this width.
fn bar(count: usize, largest: usize, width: usize) -> String {
    "#".repeat((count * width).div_ceil(largest.max(1)).min(width))
}
