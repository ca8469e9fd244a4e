//! What the process did: clients, and for each kind of call how many and how many of them would have blocked.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::info;

/// The calls that are counted: those that can wait, and those that register interest, whose number is step 6's point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is the system call of that name
pub enum Syscall {
    Accept,
    Recv,
    Send,
    Select,
    EpollWait,
    EpollCtl,
    Kevent,
    /// A kevent that only says what is to be watched, as epoll_ctl does.
    KeventChange,
    Sleep,
}

impl Syscall {
    const ALL: [Syscall; 9] = [
        Syscall::Accept,
        Syscall::Recv,
        Syscall::Send,
        Syscall::Select,
        Syscall::EpollWait,
        Syscall::EpollCtl,
        Syscall::Kevent,
        Syscall::KeventChange,
        Syscall::Sleep,
    ];

    /// Its name in the log, the summary and the trace.
    pub fn name(self) -> &'static str {
        match self {
            Syscall::Accept => "accept",
            Syscall::Recv => "recv",
            Syscall::Send => "send",
            Syscall::Select => "select",
            Syscall::EpollWait => "epoll_wait",
            Syscall::EpollCtl => "epoll_ctl",
            Syscall::Kevent => "kevent",
            Syscall::KeventChange => "kevent_change",
            Syscall::Sleep => "sleep",
        }
    }
}

static ACCEPTED: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static CALLS: [AtomicU64; Syscall::ALL.len()] = [const { AtomicU64::new(0) }; _];
static WOULD_BLOCK: [AtomicU64; Syscall::ALL.len()] = [const { AtomicU64::new(0) }; _];

pub(crate) fn count_accepted() {
    ACCEPTED.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn count_refused() {
    REFUSED.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn count_call(call: Syscall) {
    CALLS[call as usize].fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn count_would_block(call: Syscall) {
    WOULD_BLOCK[call as usize].fetch_add(1, Ordering::Relaxed);
}

/// How many clients this process has accepted and not refused so far.
pub fn clients() -> u64 {
    ACCEPTED.load(Ordering::Relaxed) - REFUSED.load(Ordering::Relaxed)
}

/// How many calls of this kind it has made so far, and how many of them would have blocked.
pub fn calls(call: Syscall) -> (u64, u64) {
    let [calls, would_block] =
        [&CALLS, &WOULD_BLOCK].map(|c| c[call as usize].load(Ordering::Relaxed));
    (calls, would_block)
}

/// The summary: in the log, and with `json` also as one object on stdout.
pub(crate) fn report(json: bool) {
    let refused = REFUSED.load(Ordering::Relaxed);
    let clients = clients();
    let mut text = format!("served {clients} clients");
    if refused > 0 {
        let _ = write!(text, ", refused {refused}");
    }
    let mut members = String::new();
    for call in Syscall::ALL {
        let (calls, would_block) = self::calls(call);
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
    if json {
        let server = std::env::current_exe().unwrap_or_default();
        let server = server.file_stem().unwrap_or_default();
        let _ = writeln!(
            io::stdout(),
            r#"{{"server":{server:?},"clients":{clients},"refused":{refused},"syscalls":{{{members}}}}}"#
        );
    }
}
