//! What the tests of several stages do besides the cases.

use std::thread;
use std::time::Duration;

use ::client::raise_descriptor_limit;

use crate::client::{Client, Outcome, ensure};
use crate::process::Server;

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
