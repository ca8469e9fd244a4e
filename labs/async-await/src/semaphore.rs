//! A semaphore: a limited number of tasks may do something at once, and the others wait, first come first served.
//!
//! `tests/models.rs` compiles this file, and `channel.rs`, against loom's mutex, as it does with `run_queue.rs`.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Permits, to be waited for. Clones are the same semaphore. Any thread may use it.
#[derive(Clone)]
pub struct Semaphore(Arc<Mutex<State>>);

struct State {
    permits: usize,
    /// The tasks that wait, in the order in which they came.
    waiting: BTreeMap<u64, Waker>,
    tickets: u64,
}

impl Semaphore {
    /// A semaphore with this number of permits.
    pub fn new(permits: usize) -> Self {
        Semaphore(Arc::new(Mutex::new(State { permits, waiting: BTreeMap::new(), tickets: 0 })))
    }

    /// Waits for a permit. If the first in the queue does not poll, it holds up all behind it.
    pub async fn acquire(&self) -> Permit {
        self.take().await;
        Permit(self.clone())
    }

    /// Waits for a permit that only [`Semaphore::release`] gives back. The future can be awaited again for another.
    pub(crate) fn take(&self) -> Take {
        Take { semaphore: self.clone(), ticket: None }
    }

    pub(crate) fn release(&self, permits: usize) {
        let mut state = self.state();
        state.permits = state.permits.saturating_add(permits);
        wake_first(state);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the first task that waits, if there is a permit. The task stays on the list until it has taken the permit. If
/// its future is dropped instead, the next task is woken.
fn wake_first(state: MutexGuard<'_, State>) {
    let first = state.waiting.first_key_value().filter(|_| state.permits > 0);
    let waker = first.map(|(_, waker)| waker.clone());
    drop(state); // a waker may do anything
    waker.inspect(Waker::wake_by_ref);
}

/// The future behind [`Semaphore::acquire`].
pub(crate) struct Take {
    semaphore: Semaphore,
    /// Its place in the queue, as long as it waits.
    ticket: Option<u64>,
}

impl Future for Take {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Take { semaphore, ticket } = &mut *self;
        let mut state = semaphore.state();
        let first = state.waiting.first_key_value().map(|(&ticket, _)| ticket);
        if state.permits > 0 && (first.is_none() || first == *ticket) {
            state.permits -= 1;
            let _waker = ticket.take().map(|ticket| state.waiting.remove(&ticket));
            wake_first(state);
            return Poll::Ready(());
        }
        state.tickets += 1;
        let ticket = *ticket.get_or_insert(state.tickets);
        let _before = state.waiting.insert(ticket, context.waker().clone());
        drop(state); // dropping a waker may do anything too
        Poll::Pending
    }
}

impl Drop for Take {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.semaphore.state();
        let _waker = state.waiting.remove(&ticket);
        wake_first(state);
    }
}

/// A permit. Dropping it gives it back.
#[must_use = "it is given back when it is dropped, so at once"]
pub struct Permit(Semaphore);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release(1);
    }
}
