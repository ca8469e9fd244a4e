//! The log on stderr, and `--trace`: every span as a pair of Chrome trace events.
//!
//! The trace is the [Trace Event Format]'s array of events, one per line: `B` when a span is entered, `E` when it is
//! left. The closing bracket may be missing there, so a trace need not be brought to an end; of a process that is
//! killed the last few kilobytes are missing too. Timestamps are
//! microseconds of CLOCK_MONOTONIC: traces of several processes of one machine share a time line.
//!
//! [Trace Event Format]: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::{process, thread};

use nix::time::{ClockId, clock_gettime};
use tracing::level_filters::LevelFilter;
use tracing::span;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::{Options, context};

static TRACE: OnceLock<Arc<ChromeTrace>> = OnceLock::new();

/// Sets up the log, and the trace if `options` name a file for it.
///
/// # Errors
/// The trace's file cannot be created.
pub fn start(options: &Options) -> io::Result<()> {
    let level = match (options.quiet, options.verbose) {
        (true, _) => LevelFilter::WARN,
        (false, false) => LevelFilter::INFO,
        (false, true) => LevelFilter::DEBUG,
    };
    let log = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(is_coloured())
        .with_target(false)
        .with_filter(level);
    let trace = match &options.trace {
        None => None,
        Some(path) => {
            let file = File::create(path).map_err(|error| {
                context(&error, format_args!("cannot write {}", path.display()))
            })?;
            let trace = Arc::new(ChromeTrace::new(file)?);
            let _ = TRACE.set(Arc::clone(&trace));
            Some(ChromeLayer(trace).with_filter(LevelFilter::TRACE))
        }
    };
    tracing_subscriber::registry().with(log).with(trace).init();
    Ok(())
}

/// Only a terminal understands colours, and its user may not want them: <https://no-color.org>.
fn is_coloured() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes out what the trace still holds in memory.
pub fn finish() {
    if let Some(trace) = TRACE.get() {
        let _ = trace.file.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

struct ChromeTrace {
    file: Mutex<BufWriter<File>>,
}

impl ChromeTrace {
    fn new(file: File) -> io::Result<Self> {
        let mut file = BufWriter::new(file);
        writeln!(file, "[")?;
        Ok(ChromeTrace { file: Mutex::new(file) })
    }

    fn write(&self, phase: char, name: &str) {
        // The clock is read before the lock is asked for: waiting for it must not move the event.
        let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return };
        let microseconds = now.tv_sec() as f64 * 1e6 + now.tv_nsec() as f64 / 1e3;
        let process = process::id();
        let (thread, is_new) = thread_number(process);
        let mut lines = String::new();
        if is_new {
            let name = thread::current().name().unwrap_or("thread").to_owned();
            let _ = writeln!(
                lines,
                r#"{{"name":"thread_name","ph":"M","pid":{process},"tid":{thread},"args":{{"name":{name:?}}}}},"#
            );
        }
        let _ = writeln!(
            lines,
            r#"{{"name":"{name}","ph":"{phase}","pid":{process},"tid":{thread},"ts":{microseconds:.3}}},"#
        );
        // In one piece, so that the buffer ends with a line whenever it is written out: several processes may share the
        // file. A trace that cannot be written (a full disk) must not stop the server.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_all(lines.as_bytes());
    }
}

/// A small number for the calling thread, and whether it has not been seen yet in this process: a child that was forked
/// has its parent's.
fn thread_number(process: u32) -> (u64, bool) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static NUMBER: std::cell::Cell<(u64, u32)> = const { std::cell::Cell::new((0, 0)) });
    NUMBER.with(|cell| {
        let (mut number, seen_in) = cell.get();
        if number == 0 {
            number = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        cell.set((number, process));
        (number, seen_in != process)
    })
}

struct ChromeLayer(Arc<ChromeTrace>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ChromeLayer {
    fn on_enter(&self, id: &span::Id, context: Context<'_, S>) {
        if let Some(metadata) = context.metadata(id) {
            self.0.write('B', metadata.name());
        }
    }

    fn on_exit(&self, id: &span::Id, context: Context<'_, S>) {
        if let Some(metadata) = context.metadata(id) {
            self.0.write('E', metadata.name());
        }
    }
}
