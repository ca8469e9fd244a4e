//! A server that a case has started. It outlives the case for a moment, so that a failure can tell how it ended and what
//! it said last; then it is killed, and what it has forked with it.

use std::cell::RefCell;
use std::io;
use std::ops::Deref;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use subprocess::{Finished, Server};

thread_local! {
    /// What the case that runs on this thread has started and not stopped.
    static LEFT: RefCell<Vec<Server>> = const { RefCell::new(Vec::new()) };
}

/// How long a server that has just closed a connection may take to be dead. It counts only after a failure.
const DYING: Duration = Duration::from_millis(300);

/// A server under test.
pub(crate) struct Process(Option<Server>);

impl Process {
    pub(crate) fn new(server: Server) -> Self {
        Process(Some(server))
    }

    /// [`Server::stop`].
    pub(crate) fn stop(self) -> io::Result<Finished> {
        self.end_with(Server::stop)
    }

    /// [`Server::wait`].
    pub(crate) fn wait(self, limit: Duration) -> io::Result<Finished> {
        self.end_with(|server| server.wait(limit))
    }

    fn end_with(
        mut self,
        end: impl FnOnce(Server) -> io::Result<Finished>,
    ) -> io::Result<Finished> {
        let server = self.0.take().ok_or_else(|| io::Error::other("the server is gone"))?;
        let forked = server.children().unwrap_or_default();
        let finished = end(server);
        if finished.is_err() {
            kill_all(&forked); // they may have outlived it
        }
        finished
    }
}

impl Deref for Process {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.0.as_ref().expect("it is taken only by what consumes the whole")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        LEFT.with_borrow_mut(|left| left.extend(self.0.take()));
    }
}

/// How the last server has fared that the failed case has left: that it has ended, and what it said. (A case may have had
/// others before it, where it tried again.)
pub(crate) fn fate_of_last() -> Option<String> {
    LEFT.with_borrow_mut(Vec::pop).and_then(fate)
}

fn fate(mut server: Server) -> Option<String> {
    let deadline = Instant::now() + DYING;
    let mut status = server.ended().ok()?;
    while status.is_none() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
        status = server.ended().ok()?;
    }
    if status.is_none() {
        let forked = server.children().unwrap_or_default();
        server.signal(Signal::SIGKILL).ok()?;
        kill_all(&forked);
    }
    let finished = server.wait(Duration::from_secs(10)).ok()?;
    let said = finished.last_output();
    match (status, said.is_empty()) {
        (Some(status), true) => Some(format!("it has ended with {status}")),
        (Some(status), false) => Some(format!("it has ended with {status}; it said last: {said}")),
        // The log of one that goes on tells nothing, unless a thread has died.
        (None, _) => {
            is_crash(&finished.stderr).then(|| format!("it goes on, but its log has: {said}"))
        }
    }
}

/// Whether a log tells of a thread that has died: as Rust and Go say it, Python, Java and C#, and Node.
pub(crate) fn is_crash(text: &str) -> bool {
    const SIGNS: [&str; 6] = [
        "panicked at",
        "panic: ",
        "Traceback (most recent call last)",
        "Exception in thread",
        "Unhandled exception",
        "Uncaught",
    ];
    SIGNS.iter().any(|sign| text.contains(sign))
}

/// Ends what a case has left. A prefork server's workers would stay behind it, and keep its port.
pub(crate) fn end() {
    for server in LEFT.take() {
        let forked = server.children().unwrap_or_default();
        drop(server);
        kill_all(&forked);
    }
}

fn kill_all(processes: &[i32]) {
    for &process in processes {
        let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
    }
}
