//! Child processes: how one has ended, and an end for all of them.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long children get to leave after SIGTERM: their own second of grace, and some for a loaded machine.
const LEAVE: Duration = Duration::from_secs(3);

/// Waits until a child has ended; returns which, and how. See wait(2).
///
/// # Errors
/// A signal came first, or there is no child.
pub fn wait() -> io::Result<(Pid, String)> {
    match wait_for_any(0)? {
        Some(ended) => Ok(ended),
        None => Err(Errno::ECHILD.into()),
    }
}

/// A child that has ended and has not been asked for yet, and how it ended, if there is one.
pub fn ended() -> Option<(Pid, String)> {
    wait_for_any(libc::WNOHANG).ok().flatten()
}

/// waitpid(2) itself: nix's has no name for a real-time signal, and returns an error when one kills a child, although
/// it has reaped the child.
fn wait_for_any(options: libc::c_int) -> Result<Option<(Pid, String)>, Errno> {
    let mut status = 0;
    // SAFETY: `status` is where waitpid may write.
    #[allow(unsafe_code)]
    let pid = Errno::result(unsafe { libc::waitpid(-1, &mut status, options) })?;
    Ok((pid != 0).then(|| (Pid::from_raw(pid), how(status))))
}

fn how(status: libc::c_int) -> String {
    if libc::WIFEXITED(status) {
        return format!("ended with {}", libc::WEXITSTATUS(status));
    }
    let signal = libc::WTERMSIG(status);
    match Signal::try_from(signal) {
        Ok(signal) => format!("was killed by {signal}"),
        Err(_) => format!("was killed by signal {signal}"),
    }
}

/// Ends these children, with SIGTERM and in the end with SIGKILL, and returns when the last of them has been reaped. (There
/// may be others: an exec keeps a process's children, and the first process of a container adopts every orphan.)
pub fn stop(mut children: Vec<Pid>) {
    let mut signal = Signal::SIGTERM;
    while !children.is_empty() {
        for &pid in &children {
            let _ = kill(pid, signal);
        }
        let deadline = Instant::now() + LEAVE;
        while !children.is_empty() && Instant::now() < deadline {
            match wait_for_any(libc::WNOHANG) {
                Err(Errno::ECHILD) => return,
                Ok(None) | Err(_) => thread::sleep(Duration::from_millis(1)),
                // From here on its id may be another process's.
                Ok(Some((dead, _))) => children.retain(|&pid| pid != dead),
            }
        }
        signal = Signal::SIGKILL;
    }
}
