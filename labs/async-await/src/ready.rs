//! Who is to be polled next. Wakers put tasks on this list, from any thread; the executor takes them off.
//!
//! `tests/models.rs` compiles this very file against loom's mutex, and tries the orders in which threads can meet. For
//! that it uses nothing but what `crate::sync` names.

use std::collections::BTreeSet;
use std::mem;

use crate::sync::{Mutex, MutexGuard, Pipe, PoisonError};

/// The run queue. It is a set: a task that is woken twice is polled once.
pub(crate) struct Ready<K> {
    state: Mutex<State<K>>,
    /// Readable when a sleeping executor is needed.
    pub(crate) pipe: Pipe,
}

struct State<K> {
    tasks: BTreeSet<K>,
    /// Whether the executor sleeps, or is about to. Whoever wakes a task then has to wake the executor too.
    asleep: bool,
}

impl<K: Ord> Ready<K> {
    pub(crate) fn new(pipe: Pipe) -> Self {
        Ready { state: Mutex::new(State { tasks: BTreeSet::new(), asleep: false }), pipe }
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a task. To be called after there is something for it to find, not before.
    pub(crate) fn push(&self, task: K) {
        let mut state = self.state();
        state.tasks.insert(task);
        let asleep = mem::replace(&mut state.asleep, false);
        drop(state);
        if asleep {
            self.pipe.write();
        }
    }

    /// Takes all of them off, now that the executor is awake. A task that is woken from here on is polled once more: it may
    /// have looked already.
    pub(crate) fn take(&self) -> BTreeSet<K> {
        let mut state = self.state();
        state.asleep = false;
        mem::take(&mut state.tasks)
    }

    /// To be asked before the executor sleeps: whether it may. From then on a task that is woken makes the pipe readable,
    /// so none is overlooked between the question and the sleep.
    pub(crate) fn may_sleep(&self) -> bool {
        let mut state = self.state();
        state.asleep = state.tasks.is_empty();
        state.asleep
    }
}
