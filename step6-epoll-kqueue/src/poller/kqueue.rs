//! The poller on macOS and the BSDs: kqueue(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::timespec;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
use server::sys::{self, Syscall};

use super::{EVENTS, Event, Interest, left_of};

/// A list of descriptors that the kernel keeps and watches for us.
#[derive(Debug)]
pub struct Poller {
    kqueue: Kqueue,
    /// Where the kernel writes; kept from wait to wait.
    returned: Vec<KEvent>,
}

impl Poller {
    /// What does the work here.
    pub const NAME: &str = "kqueue";

    /// A poller that watches nothing yet. See kqueue(2).
    ///
    /// # Errors
    /// No descriptor or no memory is left.
    pub fn new() -> io::Result<Self> {
        // A kqueue is not inherited by fork, so it needs no close-on-exec flag.
        let kqueue = Kqueue::new()?;
        let nothing = filter(0, EventFilter::EVFILT_READ, EvFlags::empty(), 0);
        Ok(Poller { kqueue, returned: vec![nothing; EVENTS] })
    }

    /// Has the kernel watch `descriptor`, and call it `token`. It watches until the descriptor is deleted or closed, and
    /// reports it as long as it is ready: level-triggered.
    ///
    /// # Errors
    /// What kevent(2) reports: among others, no memory is left.
    pub fn add(&self, descriptor: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.change(descriptor, token, interest, EvFlags::EV_ADD)
    }

    /// The same, edge-triggered: reports the descriptor when it becomes ready, and when more arrives. If you stop before
    /// would-block, you may never be told again.
    ///
    /// # Errors
    /// As [`Poller::add`].
    pub fn add_edge_triggered(
        &self,
        descriptor: impl AsFd,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        self.change(descriptor, token, interest, EvFlags::EV_ADD | EvFlags::EV_CLEAR)
    }

    /// Changes what the kernel watches `descriptor` for; level-triggered.
    ///
    /// # Errors
    /// What kevent(2) reports.
    pub fn modify(&self, descriptor: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.change(descriptor, token, interest, EvFlags::EV_ADD)
    }

    /// Has the kernel forget `descriptor`.
    ///
    /// # Errors
    /// What kevent(2) reports.
    pub fn delete(&self, descriptor: impl AsFd) -> io::Result<()> {
        self.change(descriptor, 0, Interest::NONE, EvFlags::EV_ADD)
    }

    /// Sleeps until a descriptor is ready, `timeout` is over or the process is told to stop, and replaces `events` by
    /// those that are ready.
    ///
    /// # Errors
    /// What kevent(2) reports, EINTR aside.
    pub fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let left = left_of(timeout);
        let returned = &mut self.returned;
        let ready = sys::wait(Syscall::Kevent, || {
            let timeout = left().map(|left| timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i32::MAX.into()),
                tv_nsec: left.subsec_nanos().into(),
            });
            Ok(self.kqueue.kevent(&[], returned, timeout)?)
        })?;
        events.clear();
        events.extend(self.returned[..ready].iter().map(|event| {
            let filter = event.filter();
            Event {
                token: event.udata() as u64,
                readable: filter == Ok(EventFilter::EVFILT_READ),
                writable: filter == Ok(EventFilter::EVFILT_WRITE),
            }
        }));
        // A socket that is both comes as two events, one for each filter. Here it is one.
        events.sort_by_key(|event| event.token);
        events.dedup_by(|second, first| {
            let same = first.token == second.token;
            if same {
                first.readable |= second.readable;
                first.writable |= second.writable;
            }
            same
        });
        Ok(())
    }

    /// Changes both filters in one call: `add` for what is of interest, EV_DELETE for what is not. EV_RECEIPT has the
    /// kernel answer each change, even a successful one, so that a filter which was not there to be deleted does not keep
    /// the other from being changed.
    fn change(
        &self,
        descriptor: impl AsFd,
        token: u64,
        interest: Interest,
        add: EvFlags,
    ) -> io::Result<()> {
        let descriptor = descriptor.as_fd().as_raw_fd() as usize;
        let read = if interest.read { add } else { EvFlags::EV_DELETE };
        let write = if interest.write { add } else { EvFlags::EV_DELETE };
        let changes = [
            filter(descriptor, EventFilter::EVFILT_READ, read, token),
            filter(descriptor, EventFilter::EVFILT_WRITE, write, token),
        ];
        let mut receipts = changes;
        let count = sys::call(Syscall::KeventChange, || {
            Ok(self.kqueue.kevent(&changes, &mut receipts, None)?)
        })?;
        for receipt in &receipts[..count] {
            match Errno::from_raw(receipt.data() as i32) {
                Errno::ENOENT => {}
                _ if receipt.data() == 0 => {}
                error => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A poller can be watched itself: it is readable while one of its descriptors is ready. See kqueue(2).
impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.kqueue.as_fd()
    }
}

fn filter(descriptor: usize, filter: EventFilter, flags: EvFlags, token: u64) -> KEvent {
    let flags = flags | EvFlags::EV_RECEIPT;
    KEvent::new(descriptor, filter, flags, FilterFlag::empty(), 0, token as isize)
}
