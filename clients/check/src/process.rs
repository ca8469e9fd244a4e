//! A server's process: started on a port of its own, watched, stopped, and its bill read.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// How long a server may take to say where it listens.
const START: Duration = Duration::from_secs(10);

/// How long it may take to leave after SIGTERM. It is promised about one second; a loaded machine may need more.
const STOP: Duration = Duration::from_secs(10);

/// A server under test. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    pid: Pid,
    address: SocketAddr,
    reaped: bool,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
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
        let mut command = Command::new(program);
        command.args(arguments);
        Self::spawn(command)
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
        // The shell sets the limit on itself and then becomes the server.
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]);
        command.arg(program).args(arguments);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = command.get_program().to_owned();
        let mut child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start {}: {error}", display(&name)))
        })?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("the pipes are gone"));
        };
        // Read to the end by threads, so that the server never waits for somebody to read what it prints.
        let (sender, first_line) = mpsc::channel();
        let stdout = thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = sender.send(line);
            read_all(stdout)
        });
        let stderr = thread::spawn(move || read_all(stderr));

        let pid = Pid::from_raw(child.id() as i32);
        // wait4 reaps it, not std, which would throw away what it used. Dropping a Child does not touch its process.
        drop::<Child>(child);
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Server {
            pid,
            address: unspecified,
            reaped: false,
            stdout: Some(stdout),
            stderr: Some(stderr),
        };
        let line = first_line.recv_timeout(START).unwrap_or_default();
        match line.trim_end().strip_prefix("Listening on ").and_then(|text| text.parse().ok()) {
            Some(address) => {
                server.address = address;
                Ok(server)
            }
            None => {
                let _ = signal::kill(pid, Signal::SIGKILL);
                let finished = server.wait(STOP)?;
                Err(io::Error::other(format!(
                    "{} did not say where it listens: {}{}",
                    display(&name),
                    line,
                    finished.stderr.trim_end()
                )))
            }
        }
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
        Ok(signal::kill(self.pid, signal)?)
    }

    /// Stops it as a user would, with SIGTERM.
    ///
    /// # Errors
    /// It does not leave; it has been killed then.
    pub fn stop(self) -> io::Result<Finished> {
        self.signal(Signal::SIGTERM)?;
        self.wait(STOP)
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// It does not within `limit`; it has been killed then.
    pub fn wait(mut self, limit: Duration) -> io::Result<Finished> {
        let deadline = Instant::now() + limit;
        let mut peak = None;
        let (status, mut usage) = loop {
            // A process's ru_maxrss on Linux also covers the image it was exec'ed from, that is, us. The high-water mark
            // in /proc is its own; it is gone when the process is, so it is read until then.
            peak = self.status_kibibytes("VmHWM:").or(peak);
            if let Some(reaped) = wait4(self.pid, libc::WNOHANG)? {
                break reaped;
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("process {} did not end within {limit:?}", self.pid),
                ));
            }
            thread::sleep(Duration::from_millis(2));
        };
        self.reaped = true;
        usage.peak_memory = peak.unwrap_or(usage.peak_memory);
        let text = |thread: Option<JoinHandle<String>>| {
            thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
        };
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        Ok(Finished { status, stdout, stderr, usage })
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
        if !self.reaped {
            let _ = signal::kill(self.pid, Signal::SIGKILL);
            let _ = wait4(self.pid, 0);
        }
    }
}

fn display(name: &OsString) -> impl std::fmt::Display + '_ {
    std::path::Path::new(name).display()
}

fn read_all(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
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

/// Kills the process with this id: for a program that is itself told to stop, and has no time for [`Server::stop`].
///
/// # Errors
/// What kill(2) reports.
pub fn kill(process: i32) -> io::Result<()> {
    Ok(signal::kill(Pid::from_raw(process), Signal::SIGKILL)?)
}
