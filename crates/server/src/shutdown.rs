//! SIGINT and SIGTERM: stop accepting, give what is owed one second, leave.
//!
//! Almost nothing may be done inside a signal handler (signal-safety(7)), so ours sets a flag. What wakes the thread is
//! the signal itself: the handler is installed *without* `SA_RESTART`, so a call that sleeps in the kernel returns EINTR
//! and its caller looks at the flag.
//!
//! That leaves a gap: a signal that arrives after the flag was looked at and before the call goes to sleep wakes nobody.
//! The handler therefore also sets an alarm(2). A second later SIGALRM interrupts whatever sleeps by then; it is also
//! the end of the grace period. (Step 7 closes the gap the way event loops do, with a pipe to itself.)

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::unistd::alarm;

static REQUESTED: AtomicBool = AtomicBool::new(false);
static EXPIRED: AtomicBool = AtomicBool::new(false);
static AFTER_ONE_CLIENT: AtomicBool = AtomicBool::new(false);
static MAIN_THREAD: AtomicUsize = AtomicUsize::new(0);
static REPLIES_OWED: AtomicUsize = AtomicUsize::new(0);

/// How long after the signal a server goes on sending what it owes, in seconds.
const GRACE: u32 = 1;

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
    // Whoever executed this program may have blocked them, and a mask survives an exec.
    SigSet::from_iter(signals).thread_unblock()?;
    for signal in signals {
        // SAFETY: `on_signal` calls nothing but async-signal-safe functions (signal-safety(7)).
        #[allow(unsafe_code)]
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

extern "C" fn on_signal(signal: libc::c_int) {
    if signal == libc::SIGALRM && !requested() {
        // Not our alarm: one can be set before an exec, to end what is executed.
        let _ = raise(Signal::SIGTERM);
        return;
    }
    if signal == libc::SIGALRM {
        EXPIRED.store(true, Ordering::Relaxed);
        alarm::set(GRACE);
    } else if !REQUESTED.swap(true, Ordering::Relaxed) {
        // Once: whoever says it again and again must not put off the end.
        alarm::set(GRACE);
    }
    // The kernel may hand a process's signal to any of its threads; the one that must wake up is the main thread.
    let main_thread = MAIN_THREAD.load(Ordering::Relaxed);
    if pthread_self() as usize != main_thread {
        let _ = pthread_kill(main_thread as libc::pthread_t, Signal::SIGTERM);
    }
}

/// Whether SIGINT or SIGTERM has arrived: accept no more, wait for nobody.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Whether the grace period is over: what has not been sent by now will not be.
pub fn expired() -> bool {
    EXPIRED.load(Ordering::Relaxed)
}

/// A client has left. (Its stream says so; a process whose child served it has to say so itself.)
pub fn on_client_left() {
    if AFTER_ONE_CLIENT.load(Ordering::Relaxed) {
        let _ = raise(Signal::SIGTERM);
    }
}

/// Held by a thread from the recv that brought a request until its reply is sent: [`wait_for_replies`] waits for it.
#[derive(Debug)]
pub struct ReplyOwed;

impl ReplyOwed {
    /// A request has come.
    #[allow(clippy::new_without_default)] // it is an event, not a value
    pub fn new() -> Self {
        REPLIES_OWED.fetch_add(1, Ordering::Relaxed);
        ReplyOwed
    }
}

impl Drop for ReplyOwed {
    fn drop(&mut self) {
        REPLIES_OWED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the threads that are about to answer, at most until the grace period ends.
///
/// Threads that sleep in recv owe nothing: the process ends under them.
pub fn wait_for_replies() {
    // A thread may be between the return of its recv and the note that it owes a reply: so one look is not enough.
    let mut looks = 0;
    while requested() && !expired() && looks < 5 {
        looks = if REPLIES_OWED.load(Ordering::Relaxed) > 0 { 0 } else { looks + 1 };
        thread::sleep(Duration::from_millis(1));
    }
}
