//! A queue that threads share: some put items in, others take them out, in the same order.

use std::collections::VecDeque;
use std::hint;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The queue.
pub struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    /// How many items there may be in it.
    room: usize,
}

impl<T> Queue<T> {
    /// An empty queue with room for so many items, at least one.
    pub fn new(room: usize) -> Self {
        Queue { items: Mutex::new(VecDeque::new()), room: room.max(1) }
    }

    /// Puts an item in; waits while there is no room.
    ///
    /// # Errors
    /// The queue is closed. The item comes back.
    pub fn push(&self, item: T) -> Result<(), T> {
        loop {
            let mut items = self.lock();
            if items.len() < self.room {
                items.push_back(item);
                return Ok(());
            }
            drop(items);
            hint::spin_loop();
        }
    }

    /// Takes the oldest item out; waits while there is none. Returns none when the queue is closed and nothing is left.
    pub fn pop(&self) -> Option<T> {
        loop {
            if let Some(item) = self.lock().pop_front() {
                return Some(item);
            }
            hint::spin_loop();
        }
    }

    /// From now on nothing is put in any more.
    pub fn close(&self) {
        // Not yet.
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
