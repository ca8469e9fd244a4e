//! A bounded channel: a queue and two semaphores. One counts the room in the queue, the other what is in it (Dijkstra's
//! bounded buffer, EWD 123, 1965). Modelled, as `semaphore.rs` is.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::semaphore::{Semaphore, Take};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A channel that holds `capacity` items, at least one. Both ends may be on any thread.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let room = Semaphore::new(capacity.max(1));
    let items = Mutex::new(Some(VecDeque::new()));
    let shared = Arc::new(Shared { items, room, filled: Semaphore::new(0) });
    let filled = shared.filled.take();
    (Sender(Arc::new(LastSender(Arc::clone(&shared)))), Receiver { shared, filled })
}

struct Shared<T> {
    /// None when the receiver has gone.
    items: Mutex<Option<VecDeque<T>>>,
    room: Semaphore,
    /// A permit for each item; as many as there can be when the last sender has gone.
    filled: Semaphore,
}

impl<T> Shared<T> {
    fn items(&self) -> MutexGuard<'_, Option<VecDeque<T>>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that items are put in at. Clones are the same end.
pub struct Sender<T>(Arc<LastSender<T>>);

/// What all clones share: it is dropped with the last clone.
struct LastSender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Waits for room, and puts `item` in. A producer that is faster than the receiver is held up here. If it is
    /// dropped while it waits, the item is dropped with it.
    ///
    /// # Errors
    /// The receiver has gone. The item comes back.
    pub async fn send(&self, item: T) -> Result<(), T> {
        self.0.0.room.take().await;
        self.put(item)
    }

    /// Puts `item` in. There must be room.
    pub(crate) fn put(&self, item: T) -> Result<(), T> {
        match &mut *self.0.0.items() {
            Some(items) => items.push_back(item),
            None => return Err(item),
        }
        self.0.0.filled.release(1);
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Drop for LastSender<T> {
    fn drop(&mut self) {
        self.0.filled.release(usize::MAX);
    }
}

/// The end that items come out at, in the order in which they were put in.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    filled: Take,
}

impl<T> Receiver<T> {
    /// Waits for the next item. Returns none when all are out and all senders have gone.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    pub(crate) fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        ready!(Pin::new(&mut self.filled).poll(context));
        let item = self.shared.items().as_mut().and_then(VecDeque::pop_front);
        self.shared.room.release(1);
        Poll::Ready(item)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let items = self.shared.items().take();
        drop(items);
        self.shared.room.release(usize::MAX); // senders need not wait for room any more
    }
}
