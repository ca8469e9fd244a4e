//! The server does not pile up what a peer does not fetch.

use std::time::Duration;

use super::isolation::send_for_as_long_as_it_takes;
use crate::client::{Client, Outcome, ensure};
use crate::{Case, Promise, Target};

pub(super) const CASES: &[Case] = &[Case {
    name: "bounded-output",
    promise: Promise::Backpressure,
    about: "a peer sends 64 MiB and fetches no answer: the server stops reading, and stays small",
    needs_process: false,
    obstacle: || None,
    run: bounded_output,
}];

const OFFERED: usize = 64 * 1024 * 1024;

/// What a server may hold of the answers to one peer, in bytes. Those of the course hold 64 KiB, or twice that; a
/// runtime may hold another amount.
const HELD: usize = 1024 * 1024;

/// The server counts as full after it has taken nothing for this long.
const PAUSE: Duration = Duration::from_secs(1);

fn bounded_output(target: &Target) -> Outcome {
    let server = target.server()?;
    let memory = || server.process.as_ref().and_then(|process| process.resident_memory());
    let mut client = Client::greeted(server.address)?;
    client.echo(b"^first$")?;
    let before = memory();
    let sent = send_for_as_long_as_it_takes(&mut client, OFFERED, PAUSE)?;
    // The kernel buffers a few MiB on either side; a server that takes all of it has to keep it somewhere.
    ensure(sent < OFFERED, || {
        format!("the server took all {OFFERED} bytes, and none were fetched")
    })?;
    if let Some(queues) = client.queues() {
        // What the server has read, and how much of the answers it has sent. It holds the difference.
        let read = sent - queues.unacknowledged - queues.server_unread;
        let given = queues.unread + queues.server_unacknowledged;
        let held = read.saturating_sub(given);
        ensure(held <= HELD, || format!("the server holds {held} bytes of answers"))?;
    }
    if let (Some(before), Some(after)) = (before, memory()) {
        let grown = after.saturating_sub(before);
        // What it holds is known; what its runtime sets aside meanwhile may be several MiB.
        ensure(grown < OFFERED as u64 / 2, || format!("the server has grown by {grown} bytes"))?;
    }
    // And it goes on where it stopped: all that was sent is answered.
    client.half_close()?;
    client.expect(&vec![b'b'; sent])?;
    client.expect_end(false)
}
