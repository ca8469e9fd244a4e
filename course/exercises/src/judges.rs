//! The exercises, and how each is judged.

use std::io::Read;
use std::sync::OnceLock;
use std::time::Duration;

use check::{Client, Failure, ensure, is_timeout};
use subprocess::Server;

use crate::Exercise;

mod labs;
mod museum;
mod steps;

/// All of them, in the order of the chapters.
pub fn exercises() -> &'static [Exercise] {
    const ALL: [&[Exercise]; 3] = [steps::EXERCISES, labs::EXERCISES, museum::EXERCISES];
    static EXERCISES: OnceLock<Vec<Exercise>> = OnceLock::new();
    EXERCISES.get_or_init(|| ALL.concat())
}

/// Whether a client that has connected is greeted within so long.
fn is_greeted(client: &mut Client, within: Duration) -> Result<bool, Failure> {
    client.stream.set_read_timeout(Some(within))?;
    let result = client.stream.read(&mut [0]);
    client.stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    match result {
        Ok(0) => Err(Failure("a client that should wait was closed".to_owned())),
        Ok(_) => Ok(true),
        Err(error) if is_timeout(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// It stops when it is told to.
fn stops(server: Server) -> Result<(), Failure> {
    let finished = server.stop()?;
    ensure(finished.status.success(), || format!("after SIGTERM it ended with {}", finished.status))
}
