//! What a peer does not fetch is not piled up.

use crate::client::{Client, Outcome, ensure};
use crate::{Case, Promise, Target};

use super::isolation::send_without_reading;

pub(super) const CASES: &[Case] = &[Case {
    name: "bounded-output",
    promise: Promise::Backpressure,
    about: "a peer sends 64 MiB and fetches no answer: the server stops reading, and stays small",
    needs_process: false,
    obstacle: || None,
    run: bounded_output,
}];

const OFFERED: usize = 64 * 1024 * 1024;

fn bounded_output(target: &Target) -> Outcome {
    let server = target.server()?;
    let memory = || server.process.as_ref().and_then(|process| process.resident_memory());
    let mut client = Client::greeted(server.address)?;
    client.echo(b"^first$")?;
    let before = memory();
    let sent = send_without_reading(&mut client, OFFERED)?;
    // The kernel buffers a few MiB on either side; a server that takes all of it has to keep it somewhere.
    ensure(sent < OFFERED, || {
        format!("the server took all {OFFERED} bytes, and none were fetched")
    })?;
    if let (Some(before), Some(after)) = (before, memory()) {
        let grown = after.saturating_sub(before);
        // That it has stopped reading is certain by now; what its runtime sets aside meanwhile may be several MiB.
        ensure(grown < OFFERED as u64 / 2, || format!("the server has grown by {grown} bytes"))?;
    }
    // And it goes on where it stopped: all that was sent is answered.
    client.half_close()?;
    client.expect(&vec![b'b'; sent])?;
    client.expect_end(false)
}
