//! A terminal for a program under test: what it shows there, and a Ctrl-C.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::winsize;
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

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

/// A program whose progress is on a terminal. It leads a process group.
#[derive(Debug)]
pub struct AtTerminal {
    child: Child,
    /// Its stderr.
    pub terminal: Terminal,
}

impl AtTerminal {
    /// Starts it, with a terminal of 80 columns.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let terminal = Terminal::new(80)?;
        let command = command.stdout(Stdio::piped()).stderr(terminal.stdio()?).process_group(0);
        Ok(AtTerminal { child: command.spawn()?, terminal })
    }

    /// Sends it SIGINT, and waits for its end: it says "stopped", and of its process group nothing is left.
    ///
    /// # Errors
    /// It does not, within `limit`.
    pub fn interrupt(mut self, limit: Duration) -> io::Result<Output> {
        let leader = Pid::from_raw(self.child.id() as i32);
        kill(leader, Signal::SIGINT)?;
        let deadline = Instant::now() + limit;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                let _ = killpg(leader, Signal::SIGKILL);
            }
            thread::sleep(Duration::from_millis(10));
        }
        let output = self.child.wait_with_output()?;
        self.terminal.wait_for("stopped\r\n", limit)?;
        while killpg(leader, None) != Err(Errno::ESRCH) {
            if Instant::now() >= deadline {
                return Err(io::Error::other("something of it still runs"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(output)
    }
}
