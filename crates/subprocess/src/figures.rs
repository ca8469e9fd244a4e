//! What /proc says of a server that runs. Linux only: elsewhere all of this is `None`.

use std::fs;
use std::time::Duration;

use crate::Server;

impl Server {
    /// How many threads it has now.
    pub fn threads(&self) -> Option<u64> {
        self.status_number("Threads:")
    }

    /// How many descriptors it has open now.
    pub fn open_descriptors(&self) -> Option<usize> {
        Some(fs::read_dir(format!("/proc/{}/fd", self.pid())).ok()?.count())
    }

    /// How much memory it has resident now, in bytes.
    pub fn resident_memory(&self) -> Option<u64> {
        self.status_kibibytes("VmRSS:")
    }

    /// How much CPU time it has used so far, to a hundredth of a second.
    pub fn cpu_time(&self) -> Option<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        // The second field is the name in parentheses and may contain anything; utime and stime are the 14th and 15th.
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_whitespace().skip(11);
        let ticks: u64 =
            fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        Some(Duration::from_millis(ticks * 10)) // proc_pid_stat(5): clock ticks, 100 a second on all of Linux's platforms
    }

    /// How much CPU time its living threads have used, to the nanosecond: the first field of their `schedstat` (the
    /// kernel's Documentation/scheduler/sched-stats.rst).
    pub fn cpu_time_of_threads(&self) -> Option<Duration> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid())).ok()? {
            let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
        }
        // A kernel that keeps no such statistics may have the file all the same, with zeros.
        (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
    }

    /// The processes that it has forked and not reaped.
    pub fn children(&self) -> Option<Vec<i32>> {
        children_of(self.pid().as_raw())
    }

    /// The most memory that it has had resident so far, in bytes.
    ///
    /// (Its ru_maxrss, which [`Usage`](crate::Usage) has, also covers the image that it was exec'ed from: its parent's.)
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        self.status_kibibytes("VmHWM:")
    }

    fn status_kibibytes(&self, name: &str) -> Option<u64> {
        self.status_number(name).map(|kibibytes| kibibytes * 1024)
    }

    fn status_number(&self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    }
}

/// The processes that a process has forked and not reaped. Linux only.
pub(crate) fn children_of(process: i32) -> Option<Vec<i32>> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    text.split_whitespace().map(|child| child.parse().ok()).collect()
}
