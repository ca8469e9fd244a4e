//! How another thread wakes the loop: with a byte in a socket pair that the poller watches.
//!
//! (On Linux an eventfd, on the BSDs EVFILT_USER, would save a descriptor; a socket pair is the same everywhere.)

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::trace_span;

use crate::Loop;
use crate::slab::{Key, Slab};

/// A callback that other threads can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WakeupId(Key);

/// Asks for one callback of one loop, from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    called: Arc<AtomicBool>,
    bell: Bell,
}

impl Waker {
    /// Makes the loop take a turn and call the callback that this waker was made for.
    ///
    /// Wakeups coalesce: however many come before the loop gets round to it, they are one call. So a wakeup says
    /// "look", never "one more": leave what there is to look at somewhere both threads can reach, *then* wake.
    pub fn wake(&self) {
        self.called.store(true, Ordering::Release);
        self.bell.ring();
    }
}

/// The writing end of the loop's socket pair.
#[derive(Clone, Debug)]
pub(crate) struct Bell(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    writer: UnixStream,
    /// Whether it has been rung and the loop has not heard it yet.
    rung: AtomicBool,
}

impl Bell {
    pub(crate) fn ring(&self) {
        if !self.0.rung.swap(true, Ordering::AcqRel) {
            // There is room: one byte is the most the pair ever holds. And without a loop there is nobody to wake.
            if (&self.0.writer).write(&[1]).is_err() {
                self.0.rung.store(false, Ordering::Release); // the next one has to try again
            }
        }
    }
}

type OnWakeup<S> = Box<dyn FnMut(&mut Loop<S>, &mut S, WakeupId)>;

struct Entry<S> {
    called: Arc<AtomicBool>,
    /// Empty while the callback runs.
    on_wakeup: Option<OnWakeup<S>>,
}

/// The loop's end.
pub(crate) struct Wakeups<S> {
    reader: UnixStream,
    bell: Bell,
    entries: Slab<Entry<S>>,
}

impl<S> Wakeups<S> {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let bell = Bell(Arc::new(Shared { writer, rung: AtomicBool::new(false) }));
        Ok(Wakeups { reader, bell, entries: Slab::new() })
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Hears the bell. From here on it can be rung again, so look for what it announced after this, not before.
    pub(crate) fn clear(&self) {
        let _ = (&self.reader).read(&mut [0; 16]);
        self.bell.0.rung.swap(false, Ordering::AcqRel);
    }
}

impl<S> AsFd for Wakeups<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl<S: 'static> Loop<S> {
    /// Registers a callback that any thread can ask for, with the [`Waker`] to do it. It keeps the loop alive until
    /// [`Loop::wakeup_stop`].
    pub fn wakeup_start(
        &mut self,
        on_wakeup: impl FnMut(&mut Loop<S>, &mut S, WakeupId) + 'static,
    ) -> (WakeupId, Waker) {
        let called = Arc::new(AtomicBool::new(false));
        let entry = Entry { called: Arc::clone(&called), on_wakeup: Some(Box::new(on_wakeup)) };
        let id = WakeupId(self.wakeups.entries.insert(entry));
        (id, Waker { called, bell: self.wakeups.bell() })
    }

    /// Stops it; whether there was one to stop. Its wakers wake nobody from here on.
    pub fn wakeup_stop(&mut self, id: WakeupId) -> bool {
        self.wakeups.entries.remove(id.0).is_some()
    }

    pub(crate) fn run_wakeups(&mut self, state: &mut S) {
        let keys: Vec<_> = self.wakeups.entries.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(entry) = self.wakeups.entries.get_mut(key) else { continue };
            if !entry.called.swap(false, Ordering::AcqRel) {
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
