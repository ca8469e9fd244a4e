//! Callbacks that other threads can ask for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use tracing::trace_span;

use crate::Loop;
use crate::bell::{Bell, Waker};
use crate::pipe::Pipe;
use crate::slab::{Key, Slab};

/// A callback that other threads can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WakeupId(Key);

type OnWakeup<S> = Box<dyn FnMut(&mut Loop<S>, &mut S, WakeupId)>;

struct Entry<S> {
    waker: Waker,
    /// Empty while the callback runs.
    on_wakeup: Option<OnWakeup<S>>,
}

/// The loop's end of the bell, and the wakeups that it may be for.
pub(crate) struct Wakeups<S> {
    bell: Bell,
    entries: Slab<Entry<S>>,
}

impl<S> Wakeups<S> {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Wakeups { bell: Bell::new(Pipe::new()?), entries: Slab::new() })
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }
}

impl<S> AsFd for Wakeups<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.pipe().as_fd()
    }
}

impl<S: 'static> Loop<S> {
    /// Registers a callback that any thread can ask for, with the [`Waker`] to do it. It keeps the loop alive until
    /// [`Loop::wakeup_stop`].
    pub fn wakeup_start(
        &mut self,
        on_wakeup: impl FnMut(&mut Loop<S>, &mut S, WakeupId) + 'static,
    ) -> (WakeupId, Waker) {
        let waker = Waker::new(self.wakeups.bell.clone());
        let entry = Entry { waker: waker.clone(), on_wakeup: Some(Box::new(on_wakeup)) };
        (WakeupId(self.wakeups.entries.insert(entry)), waker)
    }

    /// Stops it; returns whether there was one to stop. Its wakers have no effect from here on.
    pub fn wakeup_stop(&mut self, id: WakeupId) -> bool {
        self.wakeups.entries.remove(id.0).is_some()
    }

    pub(crate) fn run_wakeups(&mut self, state: &mut S) {
        let keys: Vec<_> = self.wakeups.entries.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(entry) = self.wakeups.entries.get_mut(key) else { continue };
            if !entry.waker.take() {
                continue;
            }
            let Some(mut on_wakeup) = entry.on_wakeup.take() else { continue };
            trace_span!("on_wakeup").in_scope(|| on_wakeup(self, state, WakeupId(key)));
            if let Some(entry) = self.wakeups.entries.get_mut(key) {
                entry.on_wakeup = Some(on_wakeup);
            }
        }
    }
}
