//! What the tests of several stages do besides the cases.

use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::client::{Client, Failure, Outcome, ensure};
use crate::process::Server;

/// Raises this process's limit of open files as far as it may, and with it that of the servers it starts; what it is
/// then.
///
/// # Errors
/// What setrlimit(2) reports.
pub fn raise_descriptor_limit() -> Result<usize, Failure> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // macOS has no limit here and means OPEN_MAX (setrlimit(2) there).
    let limit = if cfg!(target_os = "macos") { hard.min(10_240) } else { hard.min(1 << 20) };
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard)?;
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// With so many peers who say nothing the server uses no CPU time at all, and is there when one speaks.
///
/// # Errors
/// It does not hold.
pub fn idle_costs_nothing(binary: &str, arguments: &[&str], peers: usize) -> Outcome {
    raise_descriptor_limit()?;
    let server = Server::start(binary, arguments)?;
    let mut clients = Vec::new();
    for _ in 0..peers {
        clients.push(Client::greeted(server.address())?);
    }
    if let Some(before) = server.cpu_time() {
        thread::sleep(Duration::from_secs(1));
        let used = server.cpu_time().unwrap_or_default().saturating_sub(before);
        // /proc counts in hundredths of a second; two of them leave room for the end of the greetings.
        ensure(used <= Duration::from_millis(20), || {
            format!("{used:?} of CPU time in a second with {peers} idle peers")
        })?;
    }
    clients.iter_mut().try_for_each(|client| client.echo(b"^hello$"))
}
