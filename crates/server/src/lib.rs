//! What every stage shares and no stage teaches.
//!
//! A stage is a function from a [`Listener`] to its end; [`run`] is all that surrounds it:
//!
//! | module | what it keeps out of the stages |
//! | --- | --- |
//! | [`options`] | the command line that every server understands |
//! | [`listener`] | socket, bind, listen; what can go wrong with accept; running out of descriptors |
//! | [`stream`] | a connected peer: recv, send, and the end of its connection |
//! | [`sys`] | the system calls that can wait: counted, traced, EINTR retried |
//! | `limits` | `--max-clients` and `--idle-timeout` |
//! | [`shutdown`] | SIGINT and SIGTERM |
//! | [`linger()`] | the end of all connections when the server is told to stop |
//! | [`signals`] | signals as readable bytes, for an event loop (step 7) |
//! | [`statistics`] | the summary at the end, and `--stats` |
//! | [`logging`] | the log on stderr, and `--trace` |

use std::io::{self, Write};
use std::process::ExitCode;

mod limits;
mod linger;
pub mod listener;
pub mod logging;
mod name;
pub mod options;
pub mod shutdown;
pub mod signals;
pub mod statistics;
pub mod stream;
pub mod sys;
mod syscall;

pub use linger::linger;
pub use listener::Listener;
pub use options::Options;
pub use stream::Stream;

/// Runs one stage: logging, signals, the listener, then `serve` until SIGINT or SIGTERM, then the summary.
///
/// An error of the listener or of the stage becomes one line on stderr and exit code 1.
pub fn run(options: &Options, serve: impl FnOnce(Listener) -> io::Result<()>) -> ExitCode {
    match try_run(options, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not eprintln: that panics if nobody can be told.
            let _ = writeln!(io::stderr(), "error: {}", describe(&error));
            ExitCode::FAILURE
        }
    }
}

fn try_run(options: &Options, serve: impl FnOnce(Listener) -> io::Result<()>) -> io::Result<()> {
    logging::start(options)?;
    shutdown::install(options.once)?;
    limits::start(options)?;
    let listener = Listener::bind(&options.host, options.port, options.backlog)?;
    print(&format!("Listening on {}", listener.local_address()?))?;

    let outcome = serve(listener);
    let switches = statistics::switches();
    linger();
    let reported = statistics::report(options.stats, switches);
    let traced = logging::end();
    outcome.and(reported).and(traced)
}

/// Prints a line on stdout at once: scripts read the port there. A closed pipe is not a reason to stop.
fn print(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| context(&error, "cannot write to standard output")),
    }
}

/// An error's text without the ` (os error 98)` that std appends.
pub fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The same error, its text preceded by what was attempted.
fn context(error: &io::Error, attempted: impl std::fmt::Display) -> io::Error {
    io::Error::new(error.kind(), format!("{attempted}: {}", describe(error)))
}
