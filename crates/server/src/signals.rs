//! Signals for an event loop: each becomes a byte in a pipe that the loop watches like any other descriptor.
//!
//! This is the self-pipe trick (D. J. Bernstein): a signal that arrives while the loop is awake waits in the pipe, one
//! that arrives while it sleeps wakes it, and no signal falls in between.

use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::write;

use crate::shutdown::{keeping_errno, requested};

/// One more than the greatest signal number of the systems we know, real-time signals aside.
const SIGNALS: usize = 32;

/// The descriptor that the handler writes to, for each signal that is watched.
static PIPES: [AtomicI32; SIGNALS] = [const { AtomicI32::new(-1) }; SIGNALS];

/// From here on, each arrival of `signal` makes one byte readable on the returned stream, which is non-blocking. Its
/// former handler, [`shutdown`](crate::shutdown)'s for instance, is replaced; and if that one has been called already, the
/// first byte is there at once.
///
/// The writing end stays open for the rest of the process's life: a handler may be about to use it at any time.
///
/// # Errors
/// What socketpair(2) and sigaction(2) report; `InvalidInput` for a signal that cannot be watched.
pub fn watch(signal: Signal) -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    writer.set_nonblocking(true)?;
    let mut writer = ManuallyDrop::new(writer);
    let slot = PIPES.get(signal as usize).ok_or(io::ErrorKind::InvalidInput)?;
    slot.store(writer.as_raw_fd(), Ordering::Release);
    let action =
        SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: `on_signal` calls nothing but write(2), which is async-signal-safe (signal-safety(7)).
    #[allow(unsafe_code)]
    unsafe { sigaction(signal, &action) }?;
    if matches!(signal, Signal::SIGINT | Signal::SIGTERM) && requested() {
        writer.write_all(&[1])?;
    }
    Ok(reader)
}

extern "C" fn on_signal(signal: libc::c_int) {
    keeping_errno(|| {
        let pipe: RawFd = PIPES[signal as usize].load(Ordering::Acquire);
        // SAFETY: the descriptor was leaked on purpose, so it is open for as long as this process is.
        #[allow(unsafe_code)]
        let pipe = unsafe { BorrowedFd::borrow_raw(pipe) };
        // A full pipe holds enough news already.
        let _ = write(pipe, &[1]);
    });
}
