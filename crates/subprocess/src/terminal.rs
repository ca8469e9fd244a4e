//! A terminal for a program under test: what it shows there, and a Ctrl-C.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::winsize;
use nix::pty::openpty;

/// A terminal that nobody looks at. It keeps all that was written to it.
#[derive(Debug)]
pub struct Terminal {
    program: OwnedFd,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    /// A terminal of so many columns.
    ///
    /// # Errors
    /// The system has no terminal for us.
    pub fn new(columns: u16) -> io::Result<Self> {
        let size = winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let ends = openpty(Some(&size), None)?;
        let shown = Arc::new(Mutex::new(String::new()));
        let keep = Arc::clone(&shown);
        let mut ours = File::from(ends.master);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // An error is the end too: on Linux it is EIO.
            while let Ok(length @ 1..) = ours.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]);
                keep.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        Ok(Terminal { program: ends.slave, shown })
    }

    /// The program's end of it, for its stdout or stderr.
    ///
    /// # Errors
    /// There is no descriptor for it.
    pub fn stdio(&self) -> io::Result<Stdio> {
        Ok(self.program.as_fd().try_clone_to_owned()?.into())
    }

    /// What has been written to it so far, with the `\r\n` of a terminal.
    pub fn shown(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until this has been written to it.
    ///
    /// # Errors
    /// It has not been within `limit`; the error's text is what was there instead.
    pub fn wait_for(&self, text: &str, limit: Duration) -> io::Result<()> {
        let deadline = Instant::now() + limit;
        while !self.shown().contains(text) {
            if Instant::now() >= deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, self.shown()));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}
