//! A task that measures how late the other tasks make it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_await::sleep;

const TICK: Duration = Duration::from_millis(10);

/// Sleeps for a tick, again and again until `done`. Returns how late it woke up at most.
pub(crate) async fn tick(done: Rc<Cell<bool>>) -> Duration {
    let mut latest = Duration::ZERO;
    while !done.get() {
        let due = Instant::now() + TICK;
        sleep(TICK).await;
        latest = latest.max(due.elapsed());
    }
    latest
}
