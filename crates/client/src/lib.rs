//! What every client shares but does not teach: where to connect to, how many connections it may have, what a duration
//! looks like on a command line, and how a program behaves at a terminal.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[cfg(feature = "progress")]
pub mod progress;
pub mod so_far;
#[cfg(feature = "table")]
pub mod table;
mod words;

pub use words::{count, duration, factor, seconds};

/// All addresses of `host`.
///
/// # Errors
/// It has no address; the text names the host.
pub fn resolve(host: &str, port: u16) -> io::Result<impl Iterator<Item = SocketAddr>> {
    (host, port).to_socket_addrs().map_err(|error| {
        let text = describe(&error);
        let reason = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
        io::Error::new(error.kind(), format!("cannot resolve {host}: {reason}"))
    })
}

/// The first address of `host` (`localhost` often has two) that a server listens on. It makes a connection to find out.
///
/// # Errors
/// It has no address, or no server listens there.
pub fn listening_address(host: &str, port: u16) -> io::Result<SocketAddr> {
    resolve(host, port)?
        .find(|address| TcpStream::connect(address).is_ok())
        .ok_or_else(|| io::Error::other(format!("no server listens on {host}:{port}")))
}

/// Raises the limit of open files as far as allowed, for this process and those that it starts; returns the new limit.
/// Each connection needs a descriptor, and the usual limit is 1024.
///
/// # Errors
/// What setrlimit(2) reports.
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // macOS says that there is no limit, but means OPEN_MAX (setrlimit(2) there).
    let limit = if cfg!(target_os = "macos") { hard.min(10_240) } else { hard.min(1 << 20) };
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard)?;
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The result of a print; a closed pipe counts as success, because a reader may leave early (`| head`).
///
/// # Errors
/// All other errors: the text is lost.
pub fn printed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Prints a line on stderr. Not `eprintln!`: that panics if stderr cannot be written.
#[macro_export]
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

/// How a program ends: well, not well, or with an error, which it says in one line.
pub fn exit_code(outcome: io::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell!("error: {}", describe(&error));
            ExitCode::FAILURE
        }
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

/// How many columns the terminal has that our output goes to; `None` if it goes elsewhere.
pub fn columns() -> Option<usize> {
    let (terminal_size::Width(columns), _) = terminal_size::terminal_size_of(io::stdout())?;
    // A terminal that does not know its size says 0.
    (columns > 0).then(|| columns.into())
}
