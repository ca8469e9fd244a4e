//! The shared poller on macOS and the BSDs: kqueue(2) with EV_ONESHOT.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
use server::sys::{self, Syscall};
use step6_epoll_kqueue::{Event, Interest};

/// One list of descriptors for all threads.
#[derive(Debug)]
pub(crate) struct SharedPoller(Kqueue);

impl SharedPoller {
    /// # Errors
    /// No descriptor or no memory is left.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(SharedPoller(Kqueue::new()?))
    }

    /// Makes the kernel watch `fd`, report it to one thread, and then forget it until it is armed again.
    ///
    /// # Errors
    /// What kevent(2) reports.
    pub(crate) fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.arm(fd, token, interest)
    }

    /// Makes the kernel report it once more, at once if the descriptor is ready by now. For reading or for writing, not
    /// for both: EV_ONESHOT applies to one filter, and the kernel would report the other to a second thread.
    ///
    /// # Errors
    /// What kevent(2) reports.
    pub(crate) fn arm(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let filter =
            if interest.write { EventFilter::EVFILT_WRITE } else { EventFilter::EVFILT_READ };
        let change = once(fd.as_fd().as_raw_fd() as usize, filter, token);
        sys::call(Syscall::KeventChange, || {
            self.0.kevent(&[change], &mut [], None)?;
            Ok(())
        })
    }

    /// Sleeps until a descriptor is ready or the process is told to stop. It takes one event, and leaves the next one
    /// to a free thread.
    ///
    /// # Errors
    /// What kevent(2) reports, EINTR aside.
    pub(crate) fn wait(&self) -> io::Result<Option<Event>> {
        let mut returned = [once(0, EventFilter::EVFILT_READ, 0)];
        let ready = sys::wait(Syscall::Kevent, || Ok(self.0.kevent(&[], &mut returned, None)?))?;
        Ok(returned[..ready].first().map(|event| Event {
            token: event.udata() as u64,
            readable: event.filter() == Ok(EventFilter::EVFILT_READ),
            writable: event.filter() == Ok(EventFilter::EVFILT_WRITE),
        }))
    }
}

fn once(descriptor: usize, filter: EventFilter, token: u64) -> KEvent {
    let flags = EvFlags::EV_ADD | EvFlags::EV_ONESHOT;
    KEvent::new(descriptor, filter, flags, FilterFlag::empty(), 0, token as isize)
}
