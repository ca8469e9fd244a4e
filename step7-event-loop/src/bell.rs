//! The bell: how other threads wake the loop, and how what they have for it is not overlooked.
//!
//! `tests/models.rs` compiles this very file, and `queue.rs`, against loom's mutexes and atomics, and tries the orders in
//! which the threads can meet. For that they use nothing but what `crate::sync` names.

use std::mem;

use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Pipe, PoisonError};

/// One for each loop; everything that may wake the loop has a clone.
#[derive(Clone, Debug)]
pub(crate) struct Bell(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pipe: Pipe,
    /// Whether it has been rung, and the loop has not heard it yet.
    rung: AtomicBool,
}

impl Bell {
    pub(crate) fn new(pipe: Pipe) -> Self {
        Bell(Arc::new(Shared { pipe, rung: AtomicBool::new(false) }))
    }

    /// What is readable when the bell has been rung.
    pub(crate) fn pipe(&self) -> &Pipe {
        &self.0.pipe
    }

    /// Wakes the loop. To be called after there is something to find, not before.
    pub(crate) fn ring(&self) {
        if !self.0.rung.swap(true, Ordering::AcqRel) {
            self.0.pipe.write();
        }
    }

    /// The loop has heard it. From here on it can be rung again, so what it announced must be looked for after this, not
    /// before: what comes in between would be announced by nothing.
    pub(crate) fn hear(&self) {
        self.0.pipe.clear();
        self.0.rung.swap(false, Ordering::AcqRel);
    }
}

/// Asks for one callback of one loop, from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    called: Arc<AtomicBool>,
    bell: Bell,
}

impl Waker {
    pub(crate) fn new(bell: Bell) -> Self {
        Waker { called: Arc::new(AtomicBool::new(false)), bell }
    }

    /// Makes the loop take a turn and call the callback that this waker was made for.
    ///
    /// Wakeups coalesce: if many come before the loop gets round to it, they are one call. So a wakeup says
    /// "look", never "one more": leave what there is to look at somewhere both threads can reach, *then* wake.
    pub fn wake(&self) {
        // A swap and not a store: if another thread has called it just before, what that one has left is announced too (a
        // read-modify-write goes on with the other's release sequence, a store ends it).
        self.called.swap(true, Ordering::AcqRel);
        self.bell.ring();
    }

    /// Whether it has been called since this was last asked.
    pub(crate) fn take(&self) -> bool {
        self.called.swap(false, Ordering::AcqRel)
    }
}

/// What other threads have done for the loop, until it looks.
#[derive(Debug)]
pub(crate) struct Done<T> {
    list: Mutex<Vec<T>>,
    bell: Bell,
}

impl<T> Done<T> {
    pub(crate) fn new(bell: Bell) -> Self {
        Done { list: Mutex::new(Vec::new()), bell }
    }

    /// Adds something, and wakes the loop for it.
    pub(crate) fn add(&self, item: T) {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(item);
        self.bell.ring();
    }

    pub(crate) fn take(&self) -> Vec<T> {
        mem::take(&mut *self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
