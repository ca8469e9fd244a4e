//! Every worker sleeps in accept.
//!
//! The kernel keeps them in a queue, and each asks to be woken *exclusively* (`prepare_to_wait_exclusive` in Linux's
//! `inet_csk_wait_for_connect`): one connection wakes the first of them and no other. It goes to the end of the queue
//! when it comes back, so the workers take turns.

use std::io;

use server::Listener;

use crate::App;
use crate::scoreboard::Slot;

/// Serves one client at a time, each to its end, until the worker is to stop.
///
/// # Errors
/// The listener cannot be used any more.
pub fn serve(listener: &mut Listener, app: App, slot: Slot) -> io::Result<()> {
    while let Some(stream) = slot.accept(listener)? {
        app.serve(stream);
    }
    Ok(())
}
