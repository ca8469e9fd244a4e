//! Waiting for a time. The timers stand in an ordered map of the reactor's, as in step 7: the next one bounds its
//! sleep.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use server::logging::asleep_at;

use crate::combine::{Either, select};
use crate::executor::current;
use crate::reactor::Reactor;

/// Waits until `duration` is over; longer if the thread is busy, but never less. A duration of zero is over at once,
/// and does not give the thread back ([`yield_now`](crate::yield_now) does).
///
/// # Panics
/// Outside of [`block_on`](crate::block_on).
pub fn sleep(duration: Duration) -> impl Future<Output = ()> {
    let reactor = Rc::clone(&current().reactor);
    let now = Instant::now();
    // A time beyond what the clock can express (centuries) is as good as never.
    let time = now.checked_add(duration).unwrap_or(now + Duration::from_secs(1 << 32));
    reactor.sleeps.update(|number| number + 1);
    Sleep { due: (time, reactor.sleeps.get()), reactor }
}

/// The future that [`sleep`] returns.
struct Sleep {
    due: (Instant, u64),
    reactor: Rc<Reactor>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.due.0 {
            return Poll::Ready(());
        }
        let _before = self.reactor.timers.borrow_mut().insert(self.due, context.waker().clone());
        asleep_at("sleep.await");
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let _waker = self.reactor.timers.borrow_mut().remove(&self.due);
    }
}

/// Waits for `future`, but no longer than `duration`. After that it returns none, and drops the future at the `.await`
/// where it sleeps.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    match select(future, sleep(duration)).await {
        Either::First(output) => Some(output),
        Either::Second(()) => None,
    }
}
