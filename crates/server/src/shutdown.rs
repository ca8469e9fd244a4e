//! SIGINT and SIGTERM: stop accepting, end the conversations in order ([`linger`](crate::linger())), leave.
//!
//! Almost nothing may be done inside a signal handler (signal-safety(7)), so ours sets a flag. What wakes the thread is
//! the signal itself: the handler is installed *without* `SA_RESTART`, so a call that sleeps in the kernel returns EINTR
//! and its caller looks at the flag. The kernel gives a process's signal to one thread, so the other threads are sent one
//! each.
//!
//! That leaves a gap: a signal that arrives after the flag was looked at and before the call goes to sleep does not wake it.
//! The handler therefore also sets an alarm(2). A second later SIGALRM interrupts the call that sleeps by then. Nothing is
//! lost meanwhile, the end only comes later. (Step 7 closes the gap the way event loops do, with a pipe to itself.)

use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::unistd::alarm;

static REQUESTED: AtomicBool = AtomicBool::new(false);
static EXPIRED: AtomicBool = AtomicBool::new(false);
static AFTER_ONE_CLIENT: AtomicBool = AtomicBool::new(false);
static MAIN_THREAD: AtomicUsize = AtomicUsize::new(0);

/// How long after the signal a server goes on sending what it owes.
pub const GRACE: Duration = Duration::from_secs(1);

/// How long a peer must say nothing to be taken for silent. (A peer that talks in small pieces says nothing for 40 ms now and
/// then: it waits for an acknowledgement, and the kernel delays that. See Nagle's algorithm, RFC 1122, 4.2.3.4.)
pub const QUIET: Duration = Duration::from_millis(50);

/// Installs the handlers. Called on the main thread, before the listener exists. With `once` the first client to leave
/// sends the process a SIGTERM.
///
/// # Errors
/// What sigaction(2) reports.
pub fn install(once: bool) -> io::Result<()> {
    AFTER_ONE_CLIENT.store(once, Ordering::Relaxed);
    MAIN_THREAD.store(pthread_self() as usize, Ordering::Relaxed);
    let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::empty(), SigSet::empty());
    let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGALRM];
    // The program that started this one may have blocked them, and a mask survives an exec.
    SigSet::from_iter(signals).thread_unblock()?;
    for signal in signals {
        // SAFETY: `on_signal` calls nothing but async-signal-safe functions (signal-safety(7)).
        #[allow(unsafe_code)]
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

extern "C" fn on_signal(signal: libc::c_int) {
    keeping_errno(|| {
        let is_first = match signal {
            // Not our alarm: one can be set before an exec, to end what is executed.
            libc::SIGALRM if !requested() => {
                let _ = raise(Signal::SIGTERM);
                return;
            }
            libc::SIGALRM => {
                EXPIRED.store(true, Ordering::Relaxed);
                true
            }
            // A second request must not put off the end.
            _ => !REQUESTED.swap(true, Ordering::Relaxed),
        };
        if !is_first {
            return;
        }
        alarm::set(GRACE.as_secs() as u32);
        // The kernel may hand a process's signal to any of its threads; the main thread is the one that must wake up.
        let main_thread = MAIN_THREAD.load(Ordering::Relaxed);
        if pthread_self() as usize != main_thread {
            let _ = pthread_kill(main_thread as libc::pthread_t, Signal::SIGTERM);
        }
    });
}

/// Runs a signal handler's body. errno belongs to the code that the handler has interrupted: it may be about to read it.
pub(crate) fn keeping_errno(handle: impl FnOnce()) {
    let errno = Errno::last();
    handle();
    errno.set();
}

/// Whether SIGINT or SIGTERM has arrived.
#[inline]
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Whether a second has passed since: work that is not done by now will not be done.
pub fn expired() -> bool {
    EXPIRED.load(Ordering::Relaxed)
}

/// A client has left. (Its stream says so; a process whose child served it has to say so itself.)
pub fn on_client_left() {
    if AFTER_ONE_CLIENT.load(Ordering::Relaxed) {
        let _ = raise(Signal::SIGTERM);
    }
}

/// The threads that may sleep in a counted call. A thread that has ended is not in it: its id may be another thread's.
static SLEEPERS: LazyLock<Mutex<HashSet<usize>>> = LazyLock::new(Mutex::default);

fn sleepers() -> MutexGuard<'static, HashSet<usize>> {
    SLEEPERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes its thread off the list when the thread ends.
struct Sleeper;

impl Drop for Sleeper {
    fn drop(&mut self) {
        sleepers().remove(&(pthread_self() as usize));
    }
}

thread_local! {
    static IS_LISTED: Cell<bool> = const { Cell::new(false) };
    static SLEEPER: Sleeper = const { Sleeper };
}

/// Notes that the calling thread is about to make a call that can wait.
#[inline]
pub(crate) fn may_sleep() {
    if !IS_LISTED.get() {
        list_this_thread();
    }
}

#[cold]
fn list_this_thread() {
    IS_LISTED.set(true);
    if SLEEPER.try_with(|_| ()).is_ok() {
        sleepers().insert(pthread_self() as usize);
    }
}

/// Interrupts the calls in which the other threads sleep.
pub(crate) fn wake_sleepers() {
    let here = pthread_self() as usize;
    for &thread in sleepers().iter().filter(|&&thread| thread != here) {
        let _ = pthread_kill(thread as libc::pthread_t, Signal::SIGTERM);
    }
}
