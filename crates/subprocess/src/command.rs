//! Commands: with a limit of open files, and with pipes that are always read.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long the pipes of a process that has ended may stay open.
const CLOSE: Duration = Duration::from_secs(2);

/// Runs a command that is expected to end by itself.
///
/// # Errors
/// It cannot be started, or it does not end within `limit`; it has been killed then.
pub fn run(
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
            let text = format!("the command still runs after {limit:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        thread::sleep(Duration::from_millis(2));
    };
    Ok(Output { status, stdout: text(&stdout)?.into_bytes(), stderr: text(&stderr)?.into_bytes() })
}

pub(crate) fn command(
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

pub(crate) fn piped(mut command: Command) -> io::Result<(Child, ChildStdout, ChildStderr)> {
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

fn display(name: &OsStr) -> impl std::fmt::Display + '_ {
    std::path::Path::new(name).display()
}

/// Reads a pipe to its end on a thread, so that the server never waits for a reader of what it prints.
pub(crate) fn drain(read: impl FnOnce() -> String + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, text) = mpsc::channel();
    thread::spawn(move || sender.send(read()));
    text
}

pub(crate) fn read_all(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a process that has ended has written. A pipe ends when *all* its writers have closed it.
pub(crate) fn text(pipe: &mpsc::Receiver<String>) -> io::Result<String> {
    pipe.recv_timeout(CLOSE).map_err(|_| {
        io::Error::other(
            "the command has ended and left a process behind that holds its output: a script must `exec` the server, \
             and a server that forks must end its children",
        )
    })
}
