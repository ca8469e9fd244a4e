//! The shared poller on Linux: epoll(7) with EPOLLONESHOT.

use std::io;
use std::os::fd::AsFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use server::sys::{self, Syscall};
use step6_epoll_kqueue::{Event, Interest};

/// One list of descriptors for all threads.
#[derive(Debug)]
pub(crate) struct SharedPoller(Epoll);

impl SharedPoller {
    /// # Errors
    /// No descriptor or no memory is left.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(SharedPoller(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Makes the kernel watch `fd`, report it to one thread, and then disable it until it is armed again.
    ///
    /// # Errors
    /// What epoll_ctl(2) reports.
    pub(crate) fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        sys::call(Syscall::EpollCtl, || Ok(self.0.add(&fd, once(token, interest))?))
    }

    /// Enables it for one more report, which comes at once if the descriptor is ready by now.
    ///
    /// # Errors
    /// What epoll_ctl(2) reports.
    pub(crate) fn arm(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        sys::call(Syscall::EpollCtl, || Ok(self.0.modify(&fd, &mut once(token, interest))?))
    }

    /// Sleeps until a descriptor is ready or the process is told to stop. It takes one event, and leaves the next one
    /// to a free thread.
    ///
    /// # Errors
    /// What epoll_wait(2) reports, EINTR aside.
    pub(crate) fn wait(&self) -> io::Result<Option<Event>> {
        let mut returned = [EpollEvent::empty()];
        let ready = sys::wait(Syscall::EpollWait, || {
            Ok(self.0.wait(&mut returned, EpollTimeout::NONE)?)
        })?;
        Ok(returned[..ready].first().map(Event::from))
    }
}

fn once(token: u64, interest: Interest) -> EpollEvent {
    let mut flags = EpollFlags::EPOLLONESHOT;
    flags.set(EpollFlags::EPOLLIN, interest.read);
    flags.set(EpollFlags::EPOLLOUT, interest.write);
    EpollEvent::new(flags, token)
}
