//! What the process did: clients, for each kind of call how many and how many of them would have blocked, and how often a
//! thread went to sleep.

use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::resource::{UsageWho, getrusage};
use tracing::info;

use crate::syscall::Syscall;

static ACCEPTED: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static TIMED_OUT: AtomicU64 = AtomicU64::new(0);
static CALLS: [AtomicU64; Syscall::ALL.len()] = [const { AtomicU64::new(0) }; _];
static WOULD_BLOCK: [AtomicU64; Syscall::ALL.len()] = [const { AtomicU64::new(0) }; _];
static STOPPED: [AtomicU64; Syscall::ALL.len()] = [const { AtomicU64::new(0) }; _];

pub(crate) fn count_accepted() {
    ACCEPTED.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn count_refused() {
    REFUSED.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn count_timed_out() {
    TIMED_OUT.fetch_add(1, Ordering::Relaxed);
}

#[inline]
pub(crate) fn count_call(call: Syscall) {
    CALLS[call as usize].fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn count_would_block(call: Syscall) {
    WOULD_BLOCK[call as usize].fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn count_stopped(call: Syscall) {
    STOPPED[call as usize].fetch_add(1, Ordering::Relaxed);
}

/// How many clients this process has accepted and not refused so far.
pub fn clients() -> u64 {
    ACCEPTED.load(Ordering::Relaxed) - REFUSED.load(Ordering::Relaxed)
}

/// Calls of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// How many the process has made so far.
    pub made: u64,
    /// How many of them would have blocked.
    pub would_block: u64,
    /// How many of them the signal has ended that told the server to stop.
    pub stopped: u64,
}

/// The calls of this kind.
pub fn calls(call: Syscall) -> Calls {
    let [made, would_block, stopped] =
        [&CALLS, &WOULD_BLOCK, &STOPPED].map(|c| c[call as usize].load(Ordering::Relaxed));
    Calls { made, would_block, stopped }
}

/// How often the process's threads have gone to sleep, and how often they were made to wait for others: getrusage(2).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Switches {
    voluntary: i64,
    involuntary: i64,
}

pub(crate) fn switches() -> Switches {
    getrusage(UsageWho::RUSAGE_SELF).map_or(Switches::default(), |usage| Switches {
        voluntary: usage.voluntary_context_switches(),
        involuntary: usage.involuntary_context_switches(),
    })
}

/// The summary: in the log, and with `json` also as one object on stdout. `switches` are those of the time before the
/// server was told to stop.
///
/// # Errors
/// The object cannot be written.
pub(crate) fn report(json: bool, switches: Switches) -> io::Result<()> {
    let refused = REFUSED.load(Ordering::Relaxed);
    let timed_out = TIMED_OUT.load(Ordering::Relaxed);
    let clients = clients();
    let plural = if clients == 1 { "" } else { "s" };
    let mut text = format!("served {clients} client{plural}");
    if refused > 0 {
        let _ = write!(text, ", refused {refused}");
    }
    if timed_out > 0 {
        let _ = write!(text, ", ended {timed_out} that were silent");
    }
    let mut members = String::new();
    for call in Syscall::ALL {
        let Calls { made: calls, would_block, .. } = self::calls(call);
        if calls == 0 {
            continue;
        }
        let _ = write!(text, "; {} {calls}", call.name());
        if would_block > 0 {
            let _ = write!(text, " ({would_block} would have blocked)");
        }
        let comma = if members.is_empty() { "" } else { "," };
        let name = call.name();
        let _ =
            write!(members, r#"{comma}"{name}":{{"calls":{calls},"would_block":{would_block}}}"#);
    }
    info!("{text}");
    if !json {
        return Ok(());
    }
    let server = std::env::current_exe().unwrap_or_default();
    let server = server.file_stem().unwrap_or_default();
    let Switches { voluntary, involuntary } = switches;
    crate::print(&format!(
        r#"{{"server":{server:?},"clients":{clients},"refused":{refused},"timed_out":{timed_out},"syscalls":{{{members}}},"switches":{{"voluntary":{voluntary},"involuntary":{involuntary}}}}}"#
    ))
}
