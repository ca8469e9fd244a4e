//! The poller on Linux: epoll(7).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use server::sys::{self, Syscall};

use super::{EVENTS, Event, Interest, left_of};

/// A list of descriptors that the kernel keeps and watches for us.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    /// Where the kernel writes; kept from wait to wait.
    returned: Vec<EpollEvent>,
}

impl Poller {
    /// What does the work here.
    pub const NAME: &str = "epoll";

    /// A poller that watches nothing yet. See epoll_create1(2).
    ///
    /// # Errors
    /// No descriptor or no memory is left.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Poller { epoll, returned: vec![EpollEvent::empty(); EVENTS] })
    }

    /// Has the kernel watch `descriptor`, and call it `token`. It watches until the descriptor is deleted or closed, and
    /// reports it as long as it is ready: level-triggered.
    ///
    /// # Errors
    /// What epoll_ctl(2) reports: among others, no memory is left, or `/proc/sys/fs/epoll/max_user_watches` is reached.
    pub fn add(&self, descriptor: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let event = EpollEvent::new(flags(interest), token);
        sys::call(Syscall::EpollCtl, || Ok(self.epoll.add(&descriptor, event)?))
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
        let event = EpollEvent::new(flags(interest) | EpollFlags::EPOLLET, token);
        sys::call(Syscall::EpollCtl, || Ok(self.epoll.add(&descriptor, event)?))
    }

    /// Changes what the kernel watches `descriptor` for; level-triggered.
    ///
    /// If you want nothing any more, delete it instead: errors and hang-ups are reported whether or not they are asked for.
    ///
    /// # Errors
    /// What epoll_ctl(2) reports.
    pub fn modify(&self, descriptor: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let mut event = EpollEvent::new(flags(interest), token);
        sys::call(Syscall::EpollCtl, || Ok(self.epoll.modify(&descriptor, &mut event)?))
    }

    /// Has the kernel forget `descriptor`.
    ///
    /// # Errors
    /// What epoll_ctl(2) reports.
    pub fn delete(&self, descriptor: impl AsFd) -> io::Result<()> {
        sys::call(Syscall::EpollCtl, || Ok(self.epoll.delete(&descriptor)?))
    }

    /// Sleeps until a descriptor is ready, `timeout` is over or the process is told to stop, and replaces `events` by
    /// those that are ready.
    ///
    /// # Errors
    /// What epoll_wait(2) reports, EINTR aside.
    pub fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let left = left_of(timeout);
        let returned = &mut self.returned;
        let ready = sys::wait(Syscall::EpollWait, || {
            Ok(self.epoll.wait(returned, milliseconds(left()))?)
        })?;
        events.clear();
        events.extend(self.returned[..ready].iter().map(Event::from));
        Ok(())
    }
}

/// A poller can be watched itself: it is readable while one of its descriptors is ready. See epoll(7).
impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

fn flags(interest: Interest) -> EpollFlags {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, interest.read);
    flags.set(EpollFlags::EPOLLOUT, interest.write);
    flags
}

/// Rounded up: a wait that ends before its time would be followed by another that ends at once, and so on.
fn milliseconds(timeout: Option<Duration>) -> EpollTimeout {
    let Some(timeout) = timeout else { return EpollTimeout::NONE };
    let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
    i32::try_from(milliseconds)
        .ok()
        .and_then(|ms| EpollTimeout::try_from(ms).ok())
        .unwrap_or(EpollTimeout::MAX)
}

impl From<&EpollEvent> for Event {
    fn from(event: &EpollEvent) -> Self {
        // An error or a hang-up is news for readers and for writers: the next recv or send fetches it.
        let flags = event.events();
        let ended = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        Event {
            token: event.data(),
            readable: ended || flags.contains(EpollFlags::EPOLLIN),
            writable: ended || flags.contains(EpollFlags::EPOLLOUT),
        }
    }
}
