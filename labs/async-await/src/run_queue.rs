//! The tasks to poll next. Wakers put tasks on this list, from any thread; the executor takes them off.
//!
//! `tests/models.rs` compiles this same file against loom's mutex and atomics, and tries the orders in which threads
//! can meet. So this file may use only what `crate::sync` names.

use std::mem;

use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, Ordering, Pipe, PoisonError};

/// The run queue: tasks by their keys, in the order in which they were woken.
pub(crate) struct RunQueue<K> {
    state: Mutex<State<K>>,
    /// Readable when a sleeping executor is needed.
    pub(crate) pipe: Pipe,
}

struct State<K> {
    tasks: Vec<K>,
    /// Whether the executor sleeps, or is about to. A thread that wakes a task then has to wake the executor too.
    asleep: bool,
}

impl<K> RunQueue<K> {
    pub(crate) fn new(pipe: Pipe) -> Self {
        RunQueue { state: Mutex::new(State { tasks: Vec::new(), asleep: false }), pipe }
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, task: K) {
        let mut state = self.state();
        state.tasks.push(task);
        let asleep = mem::replace(&mut state.asleep, false);
        drop(state);
        if asleep {
            self.pipe.write();
        }
    }

    /// Takes all of them off.
    pub(crate) fn take(&self) -> Vec<K> {
        mem::take(&mut self.state().tasks)
    }

    /// Whether the executor may sleep. It asks before it sleeps. From then on a task that is woken makes the pipe
    /// readable, so no task is overlooked between the question and the sleep.
    pub(crate) fn may_sleep(&self) -> bool {
        let mut state = self.state();
        state.asleep = state.tasks.is_empty();
        state.asleep
    }

    /// The executor is awake, and need not be woken.
    pub(crate) fn awake(&self) {
        self.state().asleep = false;
    }
}

/// A task's wakers point to this.
pub(crate) struct TaskWaker<K> {
    task: K,
    /// Whether the task is in the run queue: it need not be there twice.
    queued: AtomicBool,
    run_queue: Arc<RunQueue<K>>,
}

impl<K: Copy> TaskWaker<K> {
    /// The task is woken for the first time.
    pub(crate) fn new(task: K, run_queue: Arc<RunQueue<K>>) -> Arc<Self> {
        run_queue.push(task);
        Arc::new(TaskWaker { task, queued: AtomicBool::new(true), run_queue })
    }

    /// Puts the task in the run queue. Call it after the task has something to find, not before.
    pub(crate) fn schedule(&self) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.run_queue.push(self.task);
        }
    }

    /// Call it before the task is polled: if the task is woken from here on, it is polled once more. (It is a swap and
    /// not a store, because a swap also reads: so the poll sees everything that the wakers wrote before.)
    pub(crate) fn begin_poll(&self) {
        self.queued.swap(false, Ordering::AcqRel);
    }
}
