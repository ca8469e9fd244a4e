//! Child processes: how one has ended, and an end for all of them.

use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How long children get to leave after SIGTERM: their own second of grace, and some for a loaded machine.
const LEAVE: Duration = Duration::from_secs(3);

/// Which child has ended, and how; none if it has not. See wait(2).
pub fn ended(status: WaitStatus) -> Option<(Pid, String)> {
    match status {
        WaitStatus::Exited(pid, code) => Some((pid, format!("ended with {code}"))),
        WaitStatus::Signaled(pid, signal, _) => Some((pid, format!("was killed by {signal}"))),
        _ => None,
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
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => return,
                Ok(WaitStatus::StillAlive) | Err(_) => thread::sleep(Duration::from_millis(1)),
                // From here on its id may be somebody else's.
                Ok(status) => {
                    children.retain(|&pid| ended(status).is_none_or(|(dead, _)| dead != pid));
                }
            }
        }
        signal = Signal::SIGKILL;
    }
}
