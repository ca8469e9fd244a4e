//! The log on stderr, and `--trace`: every span as a pair of Chrome trace events.
//!
//! The trace is the [Trace Event Format]'s array of events, one per line: `B` when a span is entered, `E` when it is
//! left. A server that ends in order closes the array, and the file is JSON. Of a process that is killed the bracket is
//! missing, as the format allows, and the last few kilobytes are missing too. Timestamps are microseconds of
//! CLOCK_MONOTONIC: traces of several processes of one machine share a time line.
//!
//! [Trace Event Format]: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
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
        // It would report on stderr that stderr cannot be written, and panic.
        .log_internal_errors(false)
        .with_target(false)
        .with_filter(level);
    let trace = match &options.trace {
        None => None,
        Some(path) => {
            let unwritable =
                |error| context(&error, format_args!("cannot write {}", path.display()));
            let file = File::create(path).map_err(unwritable)?;
            let trace = Arc::new(ChromeTrace::new(file, path).map_err(unwritable)?);
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

/// Writes out what the trace still holds in memory. Others may go on with it: threads, forked children, the parent.
pub fn finish() {
    if let Some(trace) = TRACE.get()
        && let Some(file) = &mut *trace.file()
    {
        trace.note(file.flush());
    }
}

/// Ends the trace, for all threads. The last of the processes that share the file calls it; the others call [`finish`].
///
/// # Errors
/// This process could not write some of it: the disk is full.
pub(crate) fn end() -> io::Result<()> {
    let Some(trace) = TRACE.get() else { return Ok(()) };
    trace.end();
    match trace.failure.get() {
        Some(error) => Err(context(error, format_args!("cannot write {}", trace.path.display()))),
        None => Ok(()),
    }
}

struct ChromeTrace {
    /// None once the trace has ended: threads that are still awake write no more.
    file: Mutex<Option<BufWriter<File>>>,
    path: PathBuf,
    /// The first error of a write. It must not stop the server, and is reported at the end.
    failure: OnceLock<io::Error>,
}

impl ChromeTrace {
    fn new(file: File, path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(file);
        writeln!(file, "[")?;
        let file = Mutex::new(Some(file));
        Ok(ChromeTrace { file, path: path.to_owned(), failure: OnceLock::new() })
    }

    fn note(&self, written: io::Result<()>) {
        if let Err(error) = written {
            let _ = self.failure.set(error);
        }
    }

    fn file(&self) -> MutexGuard<'_, Option<BufWriter<File>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every event so far has a comma after it: the process's name is the last event, without a comma.
    fn end(&self) {
        let Some(mut file) = self.file().take() else { return };
        let server = std::env::current_exe().unwrap_or_default();
        let server = server.file_stem().unwrap_or_default();
        let process = process::id();
        let written = writeln!(
            file,
            r#"{{"name":"process_name","ph":"M","pid":{process},"args":{{"name":{server:?}}}}}"#
        );
        self.note(written.and_then(|()| writeln!(file, "]")).and_then(|()| file.flush()));
    }

    fn write(&self, phase: char, name: &str, lane: Option<NonZero<u64>>) {
        // The clock is read before the lock is asked for: waiting for it must not move the event.
        let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return };
        let microseconds = now.tv_sec() as f64 * 1e6 + now.tv_nsec() as f64 / 1e3;
        let process = process::id();
        let mut lines = String::new();
        let lane = lane.unwrap_or_else(|| {
            let (thread, is_new) = thread_number(process);
            if is_new {
                lines.push_str(&name_of_lane(
                    process,
                    thread,
                    thread::current().name().unwrap_or("thread"),
                ));
            }
            thread
        });
        let _ = writeln!(
            lines,
            r#"{{"name":"{name}","ph":"{phase}","pid":{process},"tid":{lane},"ts":{microseconds:.3}}},"#
        );
        self.write_lines(&lines);
    }

    fn write_lines(&self, lines: &str) {
        // In one piece, so that the buffer ends with a line whenever it is written out: several processes may share the
        // file.
        if let Some(file) = &mut *self.file() {
            self.note(file.write_all(lines.as_bytes()));
        }
    }
}

fn name_of_lane(process: u32, lane: NonZero<u64>, name: &str) -> String {
    format!(
        "{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":{process},\"tid\":{lane},\"args\":{{\"name\":{name:?}}}}},\n"
    )
}

/// The next number for a thread or another lane.
fn next_number() -> NonZero<u64> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NonZero::new(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap_or(NonZero::<u64>::MAX)
}

/// A small number for the calling thread, and whether it has not been seen yet in this process: a child that was forked
/// has its parent's.
fn thread_number(process: u32) -> (NonZero<u64>, bool) {
    thread_local!(static NUMBER: Cell<Option<(NonZero<u64>, u32)>> = const { Cell::new(None) });
    let (number, seen_in) = NUMBER.get().unwrap_or_else(|| (next_number(), 0));
    NUMBER.set(Some((number, process)));
    (number, seen_in != process)
}

/// A line of the trace that is no thread's: a task's. If nothing is traced, it does nothing.
#[derive(Debug)]
pub struct Lane {
    number: Option<NonZero<u64>>,
    asleep_at: &'static str,
}

thread_local! {
    static LANE: Cell<Option<NonZero<u64>>> = const { Cell::new(None) };
    static ASLEEP_AT: Cell<&'static str> = const { Cell::new("") };
}

/// Notes what the task that is being polled waits for: the span of its lane that lasts until it is polled again.
pub fn asleep_at(name: &'static str) {
    ASLEEP_AT.set(name);
}

impl Lane {
    /// A new lane: its name is `kind` and a number.
    pub fn new(kind: &str) -> Self {
        let number = TRACE.get().map(|trace| {
            let number = next_number();
            let name = format!("{kind} {number}");
            trace.write_lines(&name_of_lane(process::id(), number, &name));
            number
        });
        Lane { number, asleep_at: "" }
    }

    /// Polls the task of this lane. The spans of this thread are meanwhile spans of the lane.
    pub fn poll<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let (Some(trace), Some(_)) = (TRACE.get(), self.number) else { return poll() };
        if !self.asleep_at.is_empty() {
            trace.write('E', self.asleep_at, self.number);
        }
        asleep_at("await");
        let before = LANE.replace(self.number);
        let polled = poll();
        LANE.set(before);
        self.asleep_at = if polled.is_pending() { ASLEEP_AT.get() } else { "" };
        if polled.is_pending() {
            trace.write('B', self.asleep_at, self.number);
        }
        polled
    }
}

struct ChromeLayer(Arc<ChromeTrace>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ChromeLayer {
    fn on_enter(&self, id: &span::Id, context: Context<'_, S>) {
        if let Some(metadata) = context.metadata(id) {
            self.0.write('B', metadata.name(), LANE.get());
        }
    }

    fn on_exit(&self, id: &span::Id, context: Context<'_, S>) {
        if let Some(metadata) = context.metadata(id) {
            self.0.write('E', metadata.name(), LANE.get());
        }
    }
}
