//! The models have this in place of [`step7_event_loop::Pipe`]. So does the async lab's model.

use loom::sync::{Condvar, Mutex};

/// The pipe as the poller sees it: readable or not, and a wait sleeps until it is.
#[derive(Debug)]
pub(crate) struct Pipe {
    is_readable: Mutex<bool>,
    readable: Condvar,
}

impl Pipe {
    pub(crate) fn new() -> Self {
        Pipe { is_readable: Mutex::new(false), readable: Condvar::new() }
    }

    pub(crate) fn write(&self) {
        *self.is_readable.lock().unwrap() = true;
        self.readable.notify_one();
    }

    pub(crate) fn clear(&self) {
        *self.is_readable.lock().unwrap() = false;
    }

    #[allow(dead_code)] // not every model asks
    pub(crate) fn is_readable(&self) -> bool {
        *self.is_readable.lock().unwrap()
    }

    pub(crate) fn wait(&self) {
        let mut is_readable = self.is_readable.lock().unwrap();
        while !*is_readable {
            is_readable = self.readable.wait(is_readable).unwrap();
        }
    }
}
