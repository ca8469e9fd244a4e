//! A server's process: started on a port of its own, watched, stopped, and its bill read.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::client::{Outcome, ensure};

/// How long a server may take to say where it listens.
const START: Duration = Duration::from_secs(10);

/// How long it may take to leave after SIGTERM. It is promised about one second; a loaded machine may need more.
const STOP: Duration = Duration::from_secs(10);

/// How long the pipes of a process that has ended may stay open.
const CLOSE: Duration = Duration::from_secs(2);

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
    /// How.
    pub status: ExitStatus,
    /// What it printed after its first line.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
    /// What it used.
    pub usage: Usage,
}

/// What a process has used, all its threads together: getrusage(2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time in its own code.
    pub user: Duration,
    /// CPU time in the kernel on its behalf.
    pub system: Duration,
    /// The most memory it had resident at a time, in bytes.
    pub peak_memory: u64,
    /// How often a thread of it went to sleep.
    pub voluntary_switches: u64,
    /// How often a thread of it was made to wait for the CPU.
    pub involuntary_switches: u64,
}

impl Server {
    /// Starts `program` and waits until it prints `Listening on ADDRESS`.
    ///
    /// # Errors
    /// It cannot be started, or ends, or says something else first: the text contains what it had to say.
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

    /// Starts a server that does not say where it listens, and waits until somebody accepts at `address`.
    pub(crate) fn start_unannounced(
        descriptors: Option<u64>,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        address: SocketAddr,
    ) -> io::Result<Self> {
        let mut server = Self::spawn(command(descriptors, program, arguments))?;
        server.address = address;
        let deadline = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            if Instant::now() >= deadline || server.reap()?.is_some() {
                return Err(server.failed_to_start(&format!("does not listen on {address}")));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Whether this command says where it listens. It is started and stopped once to find out.
    ///
    /// # Errors
    /// It cannot be started; or it is a script that starts the server and stays: a signal to it does not reach the server.
    pub(crate) fn announces(
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
                // Something else: a server with words of its own.
                Ok(_) | Err(_) if TcpStream::connect(address).is_ok() => {
                    // It listens; the line should have come by now, but the machine may be loaded.
                    let line = server.first_line.recv_timeout(Duration::from_secs(1));
                    break line.is_ok_and(|line| address_in(&line).is_some());
                }
                _ if Instant::now() >= deadline || server.reap()?.is_some() => {
                    let error = server.failed_to_start(&format!("does not listen on {address}"));
                    let _ = signal::killpg(Pid::from_raw(group), Signal::SIGKILL);
                    return Err(error);
                }
                // Not yet. And if it has closed its output, nothing else pauses us.
                _ => thread::sleep(Duration::from_millis(5)),
            }
        };
        server.signal(Signal::SIGKILL)?;
        let ended = server.wait(STOP);
        let _ = signal::killpg(Pid::from_raw(group), Signal::SIGKILL);
        ended.map(|_| announces)
    }

    fn spawn(command: Command) -> io::Result<Self> {
        let mut running = running();
        let (child, stdout, stderr) = piped(command)?;
        running.push(child.id() as i32);
        drop(running);
        let (sender, first_line) = mpsc::channel();
        let mut stdout = BufReader::new(stdout);
        let stdout = drain(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = sender.send(line);
            read_all(stdout)
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

    /// Ends it; `text` and what it had to say on stderr.
    fn failed_to_start(self, text: &str) -> io::Error {
        let _ = self.signal(Signal::SIGKILL);
        match self.wait(STOP) {
            Ok(finished) => {
                let stderr = finished.stderr.trim_end();
                io::Error::other(format!("the server {} {stderr}", text.trim_end()))
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
            return Err(io::Error::from(nix::Error::ESRCH)); // its id may be somebody else's by now
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
    /// It does not within `limit`; it has been killed then.
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

    /// A process's ru_maxrss on Linux also covers the image it was exec'ed from, that is, us. The high-water mark in /proc
    /// is its own; it is gone when the process is, so it is read until then.
    fn look_at_peak(&mut self) {
        self.peak = self.status_kibibytes("VmHWM:").or(self.peak);
    }

    /// How many threads it has now. Linux only, as are those below: elsewhere there is no /proc to ask.
    pub fn threads(&self) -> Option<u64> {
        self.status_number("Threads:")
    }

    /// How many descriptors it has open now.
    pub fn open_descriptors(&self) -> Option<usize> {
        Some(std::fs::read_dir(format!("/proc/{}/fd", self.pid)).ok()?.count())
    }

    /// How much memory it has resident now, in bytes.
    pub fn resident_memory(&self) -> Option<u64> {
        self.status_kibibytes("VmRSS:")
    }

    /// How much CPU time it has used so far, to a hundredth of a second.
    pub fn cpu_time(&self) -> Option<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The second field is the name in parentheses and may contain anything; utime and stime are the 14th and 15th.
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_whitespace().skip(11);
        let ticks: u64 =
            fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        Some(Duration::from_millis(ticks * 10)) // proc_pid_stat(5): clock ticks, 100 a second on all of Linux's platforms
    }

    /// How much CPU time its threads have used that have not ended, to the nanosecond: the first field of their
    /// `schedstat` (the kernel's Documentation/scheduler/sched-stats.rst).
    pub fn cpu_time_of_threads(&self) -> Option<Duration> {
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid)).ok()? {
            let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
        }
        // A kernel that keeps no such statistics may have the file all the same, with zeros.
        (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
    }

    fn status_kibibytes(&self, name: &str) -> Option<u64> {
        self.status_number(name).map(|kibibytes| kibibytes * 1024)
    }

    fn status_number(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
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

/// Runs a command that is expected to end by itself.
///
/// # Errors
/// It cannot be started, or it does not end within `limit`; it has been killed then.
pub(crate) fn run(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    limit: Duration,
) -> io::Result<Output> {
    let (mut child, stdout, stderr) = piped(command(None, program, arguments))?;
    let (stdout, stderr) = (drain(move || read_all(stdout)), drain(move || read_all(stderr)));
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            let text = format!("the command was to fail, and still runs after {limit:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        thread::sleep(Duration::from_millis(2));
    };
    Ok(Output { status, stdout: text(&stdout)?.into_bytes(), stderr: text(&stderr)?.into_bytes() })
}

/// An address on loopback where nobody listens now: somebody may a moment later.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn command(
    descriptors: Option<u64>,
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Command {
    let mut command = match descriptors {
        None => Command::new(program),
        Some(descriptors) => {
            // The shell sets the limit on itself and then becomes the server.
            let mut command = Command::new("sh");
            command.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]);
            command.arg(program);
            command
        }
    };
    command.args(arguments);
    command
}

fn piped(mut command: Command) -> io::Result<(Child, ChildStdout, ChildStderr)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        let name = display(command.get_program());
        io::Error::new(error.kind(), format!("cannot start {name}: {error}"))
    })?;
    match (child.stdout.take(), child.stderr.take()) {
        (Some(stdout), Some(stderr)) => Ok((child, stdout, stderr)),
        _ => Err(io::Error::other("the pipes are gone")),
    }
}

/// The address in a server's first line.
fn address_in(line: &str) -> Option<SocketAddr> {
    line.trim_end().strip_prefix("Listening on ")?.parse().ok()
}

fn display(name: &OsStr) -> impl std::fmt::Display + '_ {
    std::path::Path::new(name).display()
}

/// Reads a pipe to its end on a thread, so that the server never waits for somebody to read what it prints.
fn drain(read: impl FnOnce() -> String + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, text) = mpsc::channel();
    thread::spawn(move || sender.send(read()));
    text
}

fn read_all(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a process that has ended has written. A pipe is at its end when *all* who can write to it have closed it.
fn text(pipe: &mpsc::Receiver<String>) -> io::Result<String> {
    pipe.recv_timeout(CLOSE).map_err(|_| {
        io::Error::other(
            "the command has ended and left a process behind that holds its output: a script must `exec` the server",
        )
    })
}

/// wait4(2): reaps the process and says what it has used; none if it still runs and `options` say not to wait.
fn wait4(pid: Pid, options: libc::c_int) -> io::Result<Option<(ExitStatus, Usage)>> {
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
        voluntary_switches: usage.ru_nvcsw as u64,
        involuntary_switches: usage.ru_nivcsw as u64,
    };
    Ok(Some((ExitStatus::from_raw(status), usage)))
}

/// Whether a program reports that its output cannot be written (a full disk, Linux only), and does not mind when nobody
/// reads it. `command` makes the program's command.
///
/// # Errors
/// It does not, or it cannot be started.
pub fn reports_unwritable_output(command: impl Fn() -> Command) -> Outcome {
    let (reader, writer) = io::pipe()?;
    drop(reader);
    let output = command().stdout(writer).output()?;
    ensure(output.status.success(), || format!("nobody reads: {output:?}"))?;
    if cfg!(target_os = "linux") {
        let full = File::options().write(true).open("/dev/full")?;
        let output = command().stdout(full).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let right =
            output.status.code() == Some(1) && stderr.starts_with("error: cannot write the ");
        ensure(right, || format!("the disk is full: {output:?}"))?;
    }
    Ok(())
}

/// The servers that have been started and not reaped.
static RUNNING: Mutex<Vec<i32>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills all servers that run, those included that have not said yet where they listen: for a program that is itself told
/// to stop, and has no time for [`Server::stop`]. It must end at once: from here on no server can be started or reaped.
pub fn kill_all() {
    let running = running();
    for &process in &*running {
        let _ = signal::kill(Pid::from_raw(process), Signal::SIGKILL);
    }
    std::mem::forget(running);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that says it listens, and then does this.
    fn server(then: &str) -> Server {
        Server::start("sh", ["-c", &format!("echo Listening on 127.0.0.1:1; {then}")]).unwrap()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_of_a_server_that_leaves_at_once_is_its_own() {
        const OURS: usize = 64 << 20;
        let ours = std::hint::black_box(vec![1_u8; OURS]);
        let finished = server("exec sleep 60").stop().unwrap();
        drop(ours);
        let peak = finished.usage.peak_memory;
        assert!((1..OURS as u64).contains(&peak), "{peak} bytes");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn cpu_time_of_threads_is_finer_than_a_tick() {
        let server = server("while :; do :; done");
        // No such statistics, no test.
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
