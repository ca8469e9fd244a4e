//! What a process has used: read when it is reaped.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::unistd::Pid;

/// What a process has used, all its threads together: getrusage(2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time in its own code.
    pub user: Duration,
    /// CPU time in the kernel on its behalf.
    pub system: Duration,
    /// The most memory it had resident at a time, in bytes.
    pub peak_memory: u64,
}

/// wait4(2): reaps the process and returns what it has used; `None` if it still runs and `options` say not to wait.
pub(crate) fn wait4(pid: Pid, options: libc::c_int) -> io::Result<Option<(ExitStatus, Usage)>> {
    let mut status = 0;
    // SAFETY: an rusage of zeros is a valid value.
    #[allow(unsafe_code)]
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals of the right type.
    #[allow(unsafe_code)]
    let reaped = unsafe { libc::wait4(pid.as_raw(), &mut status, options, &mut usage) };
    if reaped < 0 {
        return Err(io::Error::last_os_error());
    }
    if reaped == 0 {
        return Ok(None);
    }
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 }; // getrusage(2): bytes there, KiB elsewhere
    let usage = Usage {
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        peak_memory: usage.ru_maxrss as u64 * unit,
    };
    Ok(Some((ExitStatus::from_raw(status), usage)))
}
