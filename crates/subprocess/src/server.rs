//! A server's process: started on a port of its own, watched, stopped, and its bill read.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::Usage;
use crate::command::{command, drain, piped, read_all, text};
use crate::figures::children_of;
use crate::usage::wait4;

/// How long a server may take to say where it listens.
const START: Duration = Duration::from_secs(10);

/// How long a server may take to greet, or to close, when we only look whether it is there. Some never do.
const LOOK: Duration = Duration::from_secs(1);

/// How long it may take to leave after SIGTERM. It is promised about one second; a loaded machine may need more.
const STOP: Duration = Duration::from_secs(10);

/// The same for one that is started only to see what it says: perhaps it does not care for SIGTERM.
const LEAVE: Duration = Duration::from_secs(3);

/// A server under test. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    pid: Pid,
    address: SocketAddr,
    ended: Option<(ExitStatus, Usage)>,
    /// The most memory that it was seen to have resident, in bytes.
    peak: Option<u64>,
    first_line: mpsc::Receiver<String>,
    stdout: mpsc::Receiver<String>,
    stderr: mpsc::Receiver<String>,
}

/// A server that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed after its first line.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
    /// What it used.
    pub usage: Usage,
}

impl Finished {
    /// What it said last, on one line: in its log, or in its output if it has no log. A panic, if there is one, and not the
    /// backtrace after it.
    pub fn last_output(&self) -> String {
        const LINES: usize = 3;
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let panic = lines.iter().rposition(|line| line.contains("panicked at"));
        let start = panic.unwrap_or(lines.len().saturating_sub(LINES));
        lines[start..].iter().take(LINES).copied().collect::<Vec<_>>().join(" | ")
    }
}

impl Server {
    /// Starts `program` and waits until it prints `Listening on ADDRESS`.
    ///
    /// # Errors
    /// It cannot be started, or ends, or says something else first: the text contains its messages.
    pub fn start(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> io::Result<Self> {
        Self::spawn(command(None, program, arguments))?.announced()
    }

    /// The same with at most `descriptors` open files.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_with_descriptors(
        descriptors: u64,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> io::Result<Self> {
        Self::spawn(command(Some(descriptors), program, arguments))?.announced()
    }

    /// Starts a server that does not say where it listens, and waits until it accepts at `address`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_unannounced(
        descriptors: Option<u64>,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        address: SocketAddr,
    ) -> io::Result<Self> {
        Self::spawn(command(descriptors, program, arguments))?.accepting(address)
    }

    /// Starts a server whose standard output is closed after its first line, as by `| head -1`; at `address` if it does
    /// not say where it listens.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_unread(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        address: Option<SocketAddr>,
    ) -> io::Result<Self> {
        let server = Self::spawn_read(command(None, program, arguments), true)?;
        match address {
            Some(address) => server.accepting(address),
            None => server.announced(),
        }
    }

    /// Waits until it accepts at `address`.
    fn accepting(mut self, address: SocketAddr) -> io::Result<Self> {
        self.address = address;
        let deadline = Instant::now() + START;
        while !is_there(address) {
            if Instant::now() >= deadline || self.reap()?.is_some() {
                return Err(self.failed_to_start(&format!("does not listen on {address}")));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(self)
    }

    /// Whether this command says where it listens. It is started and stopped once to find out.
    ///
    /// # Errors
    /// It cannot be started; or it is a script that starts the server and stays: a signal to it does not reach the server.
    pub fn announces(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        address: SocketAddr,
    ) -> io::Result<bool> {
        // In a process group of its own, so that whatever it has started can be ended with it.
        let mut command = command(None, program, arguments);
        command.process_group(0);
        let mut server = Self::spawn(command)?;
        let group = server.pid.as_raw();
        let deadline = Instant::now() + START;
        let announces = loop {
            match server.first_line.recv_timeout(Duration::from_millis(10)) {
                Ok(line) if address_in(&line).is_some() => break true,
                _ if Instant::now() >= deadline || server.reap()?.is_some() => {
                    let error = server.failed_to_start(&format!("does not listen on {address}"));
                    let _ = signal::killpg(Pid::from_raw(group), Signal::SIGKILL);
                    return Err(error);
                }
                // Something else: a server with words of its own.
                _ if is_there(address) => {
                    // It listens; the line should have come by now, but the machine may be loaded.
                    let line = server.first_line.recv_timeout(Duration::from_secs(1));
                    if line.as_ref().is_ok_and(|line| address_in(line).is_some()) {
                        break true;
                    }
                    // Or the port was another process's in the end, and this one has left.
                    thread::sleep(Duration::from_millis(100));
                    if server.reap()?.is_none() {
                        break false;
                    }
                }
                // Not yet. And if it has closed its output, nothing else pauses us.
                _ => thread::sleep(Duration::from_millis(5)),
            }
        };
        // In order first: a server that forks has to end its children.
        server.signal(Signal::SIGTERM)?;
        let ended = server.wait(LEAVE);
        let _ = signal::killpg(Pid::from_raw(group), Signal::SIGKILL);
        match ended {
            // It does not leave in order, which is for others to judge.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(announces),
            ended => ended.map(|_| announces),
        }
    }

    fn spawn(command: Command) -> io::Result<Self> {
        Self::spawn_read(command, false)
    }

    /// With its output read to the end, or only its first line.
    fn spawn_read(command: Command, only_first_line: bool) -> io::Result<Self> {
        let mut running = running();
        let (child, stdout, stderr) = piped(command)?;
        running.push(child.id() as i32);
        drop(running);
        let (sender, first_line) = mpsc::channel();
        let mut stdout = BufReader::new(stdout);
        let stdout = drain(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let rest = (!only_first_line).then_some(stdout); // closed before anybody hears of the line
            let _ = sender.send(line);
            rest.map(read_all).unwrap_or_default()
        });
        let stderr = drain(move || read_all(stderr));

        let pid = Pid::from_raw(child.id() as i32);
        // wait4 reaps it, not std, which would throw away what it used. Dropping a Child does not touch its process.
        drop::<Child>(child);
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        Ok(Server { pid, address, ended: None, peak: None, first_line, stdout, stderr })
    }

    /// Waits for the line that says where it listens.
    fn announced(mut self) -> io::Result<Self> {
        let line = self.first_line.recv_timeout(START).unwrap_or_default();
        match address_in(&line) {
            Some(address) => {
                self.address = address;
                Ok(self)
            }
            None => Err(self.failed_to_start(&format!("did not say where it listens: {line}"))),
        }
    }

    /// Ends it; returns as an error `text`, how it ended if that was not our doing, and the end of what it said.
    fn failed_to_start(self, text: &str) -> io::Error {
        let _ = self.signal(Signal::SIGKILL);
        let said_first = self.first_line.try_recv().unwrap_or_default();
        match self.wait(STOP) {
            Ok(finished) => {
                let ended = match finished.status.signal() {
                    Some(libc::SIGKILL) => String::new(),
                    _ => format!("; it ended with {}", finished.status),
                };
                let said = match finished.last_output() {
                    said if said.is_empty() => said_first.trim_end().to_owned(),
                    said => said,
                };
                let said = if said.is_empty() { said } else { format!(": {said}") };
                io::Error::other(format!("the server {}{ended}{said}", text.trim_end()))
            }
            Err(error) => error,
        }
    }

    /// How it ended and what it used, if it has.
    fn reap(&mut self) -> io::Result<Option<(ExitStatus, Usage)>> {
        if self.ended.is_none() {
            let mut running = running();
            self.ended = wait4(self.pid, libc::WNOHANG)?;
            if self.ended.is_some() {
                running.retain(|&process| process != self.pid.as_raw());
            }
        }
        Ok(self.ended)
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    /// What wait4(2) reports.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        Ok(self.reap()?.map(|(status, _)| status))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// What kill(2) reports.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.ended.is_some() {
            return Err(io::Error::from(nix::Error::ESRCH)); // its id may be another process's by now
        }
        Ok(signal::kill(self.pid, signal)?)
    }

    /// Stops it as a user would, with SIGTERM.
    ///
    /// # Errors
    /// It does not leave; it has been killed then.
    pub fn stop(mut self) -> io::Result<Finished> {
        self.look_at_peak();
        self.signal(Signal::SIGTERM)?;
        self.wait(STOP)
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// It has not ended within `limit`; it has been killed then.
    pub fn wait(mut self, limit: Duration) -> io::Result<Finished> {
        let deadline = Instant::now() + limit;
        let (status, mut usage) = loop {
            self.look_at_peak();
            if let Some(ended) = self.reap()? {
                break ended;
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("process {} did not end within {limit:?}", self.pid),
                ));
            }
            thread::sleep(Duration::from_millis(2));
        };
        usage.peak_memory = self.peak.unwrap_or(usage.peak_memory);
        let (stdout, stderr) = (text(&self.stdout)?, text(&self.stderr)?);
        Ok(Finished { status, stdout, stderr, usage })
    }

    /// The peak is gone when the process is, so it is read until then.
    fn look_at_peak(&mut self) {
        self.peak = self.peak_memory().or(self.peak);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let mut running = running();
            let _ = signal::kill(self.pid, Signal::SIGKILL);
            let _ = wait4(self.pid, 0);
            running.retain(|&process| process != self.pid.as_raw());
        }
    }
}

/// Whether a server accepts there. If it greets, the greeting is read, and the connection is closed in order: to close
/// it with the greeting unread would be a reset, and a server that dies of one would be dead before it is tested.
pub fn is_there(address: SocketAddr) -> bool {
    /// A server that sends more than this on its own does not stop.
    const MUCH: u64 = 1024 * 1024;
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let leave_in_order = move || {
        stream.set_read_timeout(Some(LOOK))?;
        stream.read_exact(&mut [0])?;
        stream.shutdown(Shutdown::Write)?;
        io::copy(&mut stream.take(MUCH), &mut io::sink())
    };
    // A server that says nothing is there all the same.
    let _: io::Result<u64> = leave_in_order();
    true
}

/// An address on loopback where no process listens now. A moment later one may.
///
/// # Errors
/// No port is free.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// The address in a server's first line.
fn address_in(line: &str) -> Option<SocketAddr> {
    line.trim_end().strip_prefix("Listening on ")?.parse().ok()
}

/// The servers that have been started and not reaped.
static RUNNING: Mutex<Vec<i32>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills all servers that run, even those that have not said yet where they listen: for a program that is told to stop,
/// and has no time for [`Server::stop`]. The program must end at once: from here on no server can be started or reaped.
pub fn kill_all() {
    let running = running();
    for &process in &*running {
        // A forking server has no time to end its children itself.
        for child in children_of(process).into_iter().flatten() {
            let _ = signal::kill(Pid::from_raw(child), Signal::SIGKILL);
        }
        let _ = signal::kill(Pid::from_raw(process), Signal::SIGKILL);
    }
    // In a container nobody else may reap them.
    for &process in &*running {
        let _ = wait4(Pid::from_raw(process), 0);
    }
    std::mem::forget(running);
}

/// The same in order, for servers that have children of their own to end: SIGTERM, and SIGKILL for those that do not
/// leave.
pub fn stop_all() {
    let mut running = running();
    for &process in &*running {
        let _ = signal::kill(Pid::from_raw(process), Signal::SIGTERM);
    }
    let deadline = Instant::now() + STOP;
    loop {
        // One that cannot be waited for is not there.
        running.retain(|&process| {
            wait4(Pid::from_raw(process), libc::WNOHANG).is_ok_and(|ended| ended.is_none())
        });
        if running.is_empty() || Instant::now() >= deadline {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    for &process in &*running {
        let _ = signal::kill(Pid::from_raw(process), Signal::SIGKILL);
        let _ = wait4(Pid::from_raw(process), 0);
    }
    std::mem::forget(running);
}

#[cfg(all(test, target_os = "linux"))] // all of them look at /proc
mod tests {
    use super::*;

    /// A process that says it listens, and then does this.
    fn server(then: &str) -> Server {
        Server::start("sh", ["-c", &format!("echo Listening on 127.0.0.1:1; {then}")]).unwrap()
    }

    #[test]
    fn the_peak_of_a_server_that_leaves_at_once_is_its_own() {
        const OURS: usize = 64 << 20;
        let ours = std::hint::black_box(vec![1_u8; OURS]);
        let finished = server("exec sleep 60").stop().unwrap();
        drop(ours);
        let peak = finished.usage.peak_memory;
        assert!((1..OURS as u64).contains(&peak), "{peak} bytes");
    }

    #[test]
    fn cpu_time_of_threads_is_finer_than_a_tick() {
        let server = server("while :; do :; done");
        // Without such statistics there is nothing to test.
        let Some(first) = server.cpu_time_of_threads() else { return };
        let deadline = Instant::now() + START;
        let grown = loop {
            let now = server.cpu_time_of_threads().unwrap();
            if now > first {
                break now;
            }
            assert!(Instant::now() < deadline, "it stays at {first:?}");
        };
        let in_ticks = |time: Duration| time.subsec_nanos().is_multiple_of(10_000_000);
        assert!(!in_ticks(first) || !in_ticks(grown), "{first:?}, {grown:?}");
    }
}
