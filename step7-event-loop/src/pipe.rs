//! Something to be readable: a byte in a pipe that the poller watches.
//!
//! (On Linux an eventfd, on the BSDs EVFILT_USER, would save a descriptor; a pipe is the same everywhere.)

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// A descriptor that this process makes readable itself.
#[derive(Debug)]
pub struct Pipe {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Pipe {
    /// One that is not readable yet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Pipe { reader, writer })
    }

    /// Makes it readable. (Nothing can go wrong: there is room for a byte, and this process has both ends.)
    pub fn write(&self) {
        let _ = (&self.writer).write(&[1]);
    }

    /// Makes it unreadable again.
    pub fn clear(&self) {
        let _ = (&self.reader).read(&mut [0; 16]);
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
