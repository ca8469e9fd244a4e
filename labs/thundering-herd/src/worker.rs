//! One of the processes that wait: from fork to exit.

use std::io::{self, PipeWriter, Write};
use std::os::fd::AsFd;
use std::process;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};
use server::sys::Syscall;
use server::{Listener, statistics};
use tracing::info;

use crate::App;
use crate::lock::Lock;
use crate::mode::{self, Mode};
use crate::scoreboard::Slot;

/// What a worker process did, as one JSON object in a line on stdout when it ends (`--stats`).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Account {
    /// Its process.
    pub pid: i32,
    /// How many connections it accepted.
    pub connections: u64,
    /// How many each of its threads accepted. All modes but `oneshot` have one thread.
    pub shares: Vec<u64>,
    /// How often the call in which it sleeps returned: epoll_wait or kevent; in the mode `accept`, accept itself. A
    /// sleep that SIGTERM has ended does not count.
    pub returns: u64,
    /// How often it was told that there is something to accept, and there was nothing, or the lock was taken.
    pub in_vain: u64,
    /// How often it was woken while it served: getrusage(2), `ru_nvcsw`, again without SIGTERM.
    pub voluntary_switches: u64,
    /// What it used until it was told to stop, in user and kernel mode together, in microseconds.
    pub cpu_microseconds: u64,
    /// Its listeners' inodes: `socket:[...]` in /proc/PID/fd.
    pub listeners: Vec<u64>,
}

/// Waits and serves in the way of `mode` until SIGTERM. There is a slot for each thread. It writes a byte to `ready`
/// and closes it when it is about to wait.
///
/// # Errors
/// A listener or the poller cannot be used (any more).
pub fn run(
    mode: Mode,
    app: App,
    mut listeners: Vec<Listener>,
    lock: &Lock,
    slots: &[Slot],
    mut ready: PipeWriter,
    stats: bool,
) -> io::Result<()> {
    let inodes = listeners.iter().map(inode).collect::<io::Result<Vec<_>>>()?;
    info!("waits for {}", sockets(&inodes));
    // A master that is about to end no longer reads this pipe; it sends a signal.
    let _ = ready.write_all(b"!");
    drop(ready);

    let (switches, cpu) = used()?;
    let slot = slots[0];
    match mode {
        Mode::Accept => listeners.iter_mut().try_for_each(|l| mode::accept::serve(l, app, slot)),
        Mode::Blocking => mode::blocking::serve(&mut listeners, app, slot),
        Mode::Level | Mode::Reuseport => mode::level::serve(&mut listeners, app, slot),
        #[cfg(target_os = "linux")]
        Mode::Edge => mode::edge::serve(&mut listeners, app, slot),
        Mode::Semaphore => mode::semaphore::serve(&mut listeners, app, slot, lock),
        Mode::Mutex => mode::mutex::serve(&mut listeners, app, slot, lock),
        #[cfg(target_os = "linux")]
        Mode::Exclusive => mode::exclusive::serve(&mut listeners, app, slot),
        Mode::Oneshot => mode::oneshot::serve(listeners, app, slots),
    }?;
    let (switches_now, cpu_now) = used()?;
    server::linger();
    if stats {
        let wait = if cfg!(target_os = "linux") { Syscall::EpollWait } else { Syscall::Kevent };
        let sleep = if mode == Mode::Accept { Syscall::Accept } else { wait };
        // The signal ends one sleep at most: a worker of one thread makes no more calls then. Several threads end one sleep
        // each: the first by the signal, the others because the first tells them.
        let ended_by_stop = |calls: &[Syscall]| match mode {
            Mode::Oneshot => slots.len() as u64,
            _ => calls.iter().map(|&call| statistics::calls(call).stopped).sum(),
        };
        let any = [wait, Syscall::Accept, Syscall::Recv, Syscall::Send];
        let account = Account {
            pid: process::id() as i32,
            connections: statistics::clients(),
            shares: slots.iter().map(|slot| slot.row().connections).collect(),
            returns: statistics::calls(sleep).made.saturating_sub(ended_by_stop(&[sleep])),
            in_vain: statistics::calls(Syscall::Accept).would_block + lock.in_vain(),
            voluntary_switches: (switches_now - switches).saturating_sub(ended_by_stop(&any)),
            cpu_microseconds: (cpu_now - cpu).as_micros() as u64,
            listeners: inodes,
        };
        // One write: the workers share this pipe (pipe(7), PIPE_BUF).
        let line = serde_json::to_string(&account)? + "\n";
        let _ = io::stdout().write_all(line.as_bytes());
    }
    Ok(())
}

/// The inode of a listener's socket: two descriptors with the same one are the same listener.
fn inode(listener: &Listener) -> io::Result<u64> {
    Ok(fstat(listener.as_fd())?.st_ino)
}

/// Sockets with these inodes, as /proc/PID/fd shows them.
fn sockets(inodes: &[u64]) -> String {
    let sockets: Vec<_> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    sockets.join(", ")
}

/// Voluntary context switches and CPU time so far.
fn used() -> io::Result<(u64, Duration)> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let [user, system] = [usage.user_time(), usage.system_time()].map(|time| {
        Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64)
    });
    Ok((usage.voluntary_context_switches() as u64, user + system))
}
