//! The process that forks the workers: it holds the listeners, and serves no client itself.

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, Pid, fork};
use server::{Listener, shutdown, sys};
use subprocess::children;
use tracing::{Span, error, error_span, info, warn};

use crate::lock::Lock;
use crate::mode::{Mode, reuseport::SharedPort};
use crate::scoreboard::{Scoreboard, Slot};
use crate::{App, worker};

/// What the master is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the workers wait.
    pub mode: Mode,
    /// What they do.
    pub app: App,
    /// How many there are.
    pub workers: usize,
    /// Where to listen.
    pub host: String,
    /// On which ports; 0 lets the kernel choose one.
    pub ports: Vec<u16>,
    /// How many connections may wait, per listener.
    pub backlog: i32,
    /// Whether the master makes the workers' own listeners ([`Mode::Reuseport`]) and keeps them.
    pub keep_listeners: bool,
    /// Where other programs can map the scoreboard.
    pub scoreboard: Option<PathBuf>,
    /// Whether each worker prints its account when it ends.
    pub stats: bool,
}

/// If a worker lived for less than this, its successor will probably die of the same thing. So the successor waits as
/// long.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// Forks the workers, prints where they listen, replaces those that die; after SIGTERM or SIGINT ends them and returns
/// when the last has been reaped.
///
/// # Errors
/// A port cannot be listened on, or a worker cannot be started to begin with.
pub fn run(options: &Options) -> io::Result<()> {
    shutdown::install(false)?;
    // The program that started this one may have ignored SIGCHLD: then wait would never report a child's end.
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed.
    #[allow(unsafe_code)]
    unsafe { sigaction(Signal::SIGCHLD, &default) }?;
    let mut master = Master::new(options)?;
    let mut outcome = master.start_all();
    if outcome.is_ok() {
        let mut stdout = io::stdout();
        for address in &master.addresses {
            let _ = writeln!(stdout, "Listening on {address}");
        }
        let _ = stdout.flush();
        outcome = master.replace_the_dead();
    }
    master.stop_all();
    outcome
}

struct Master<'a> {
    options: &'a Options,
    /// The name of this process in the log. It is given with each line and never entered: a child would inherit it.
    log: Span,
    addresses: Vec<std::net::SocketAddr>,
    doors: Doors,
    lock: Lock,
    scoreboard: Scoreboard,
    workers: Vec<Option<Worker>>,
}

/// What the workers inherit.
enum Doors {
    /// The same listeners for all of them.
    Shared(Vec<Listener>),
    /// Ports: each worker makes its own listeners, and they end with it.
    Ports(Vec<SharedPort>),
    /// The listeners of each worker. The master holds them too: a worker's successor takes them over.
    Kept(Vec<SharedPort>, Vec<Vec<Listener>>),
}

struct Worker {
    pid: Pid,
    started: Instant,
}

impl<'a> Master<'a> {
    fn new(options: &'a Options) -> io::Result<Self> {
        let Options { host, backlog, .. } = options;
        let processes = options.mode.processes(options.workers);
        let ports = options.ports.iter();
        let doors = if options.mode == Mode::Reuseport {
            let ports: Vec<_> =
                ports.map(|&port| SharedPort::take(host, port)).collect::<io::Result<_>>()?;
            if options.keep_listeners {
                let listeners = (0..processes).map(|_| listen(&ports, *backlog));
                let listeners = listeners.collect::<io::Result<_>>()?;
                Doors::Kept(ports, listeners)
            } else {
                Doors::Ports(ports)
            }
        } else {
            let listeners = ports.map(|&port| Listener::bind(host, port, *backlog));
            Doors::Shared(listeners.collect::<io::Result<_>>()?)
        };
        let addresses = match &doors {
            Doors::Shared(listeners) => {
                listeners.iter().map(Listener::local_address).collect::<io::Result<_>>()?
            }
            Doors::Ports(ports) | Doors::Kept(ports, _) => {
                ports.iter().map(SharedPort::address).collect()
            }
        };
        let file = options.scoreboard.as_deref().map(open).transpose()?;
        Ok(Master {
            options,
            log: error_span!("master", pid = process::id()),
            addresses,
            doors,
            lock: Lock::new()?,
            scoreboard: Scoreboard::new(options.workers, file.as_ref())?,
            workers: (0..processes).map(|_| None).collect(),
        })
    }

    /// Starts every worker that is missing.
    fn start_all(&mut self) -> io::Result<()> {
        for index in 0..self.workers.len() {
            if self.workers[index].is_none() {
                let ready = self.start(index)?;
                wait_for(ready)?;
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> io::Result<PipeReader> {
        let (ready, when_ready) = io::pipe()?;
        let master = process::id();
        // SAFETY: this process has one thread, so its child may do whatever a process may (fork(2), signal-safety(7)).
        #[allow(unsafe_code)]
        let forked = unsafe { fork() }?;
        if let ForkResult::Parent { child } = forked {
            self.workers[index] = Some(Worker { pid: child, started: Instant::now() });
            return Ok(ready);
        }

        // This is the child. It never leaves this function.
        drop(ready);
        die_with(master);
        let _log = error_span!(parent: None, "worker", pid = process::id()).entered();
        let slots: Vec<Slot> = match self.options.mode {
            Mode::Oneshot => self.scoreboard.slots().collect(),
            _ => self.scoreboard.slots().skip(index).take(1).collect(),
        };
        slots.iter().for_each(|slot| slot.clear());
        let Options { mode, app, backlog, stats, .. } = *self.options;
        let listeners = match &mut self.doors {
            Doors::Shared(listeners) => Ok(std::mem::take(listeners)),
            Doors::Ports(ports) => listen(ports, backlog),
            // The other workers' listeners are closed here.
            Doors::Kept(_, listeners) => Ok(std::mem::take(listeners).swap_remove(index)),
        };
        let outcome = listeners.and_then(|listeners| {
            worker::run(mode, app, listeners, &self.lock, &slots, when_ready, stats)
        });
        process::exit(match outcome {
            Ok(()) => 0,
            Err(error) => {
                error!("{}", server::describe(&error));
                1
            }
        })
    }

    /// Runs until SIGTERM or SIGINT.
    fn replace_the_dead(&mut self) -> io::Result<()> {
        while !shutdown::requested() {
            let mut soon = false;
            if self.workers.iter().all(Option::is_some) {
                // The signal interrupts the wait; one that comes just before it is followed by an alarm (see `shutdown`).
                match children::wait() {
                    Ok(ended) => match self.bury(ended) {
                        Some(lived) => soon = lived >= SHORT_LIFE,
                        None => continue, // a child of the program that this one was before exec
                    },
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
            }
            if !soon {
                sys::sleep(SHORT_LIFE);
            }
            // Bury all that are dead by now: one of them may hold the lock, even if its successor cannot be started.
            while let Some(ended) = children::ended() {
                self.bury(ended);
            }
            if !shutdown::requested()
                && let Err(error) = self.start_all()
            {
                warn!(parent: &self.log, "no worker in its place yet: {}", server::describe(&error));
            }
        }
        Ok(())
    }

    /// Notes that a worker has ended, and how; returns how long it lived.
    fn bury(&mut self, (pid, how): (Pid, String)) -> Option<Duration> {
        let is_it = |worker: &Option<Worker>| worker.as_ref().is_some_and(|w| w.pid == pid);
        let worker = self.workers.iter_mut().find(|worker| is_it(worker))?.take()?;
        self.lock.release_for(pid);
        warn!(parent: &self.log, "worker {pid} {how}");
        Some(worker.started.elapsed())
    }

    /// Passes the signal on, and leaves no child behind.
    fn stop_all(&self) {
        children::stop(self.workers.iter().flatten().map(|worker| worker.pid).collect());
        info!(parent: &self.log, "all workers have ended");
    }
}

/// Returns when the worker is ready, or when this process is to end: a worker that hangs must not make the master deaf.
fn wait_for(mut ready: PipeReader) -> io::Result<()> {
    loop {
        match ready.read(&mut [0]) {
            // A pipe that ends without a byte means that the worker has ended: it has said why.
            Ok(0) => return Err(io::Error::other("a worker could not start")),
            Err(error) if error.kind() == ErrorKind::Interrupted && !shutdown::requested() => {}
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            Ok(_) | Err(_) => return Ok(()),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(
        |error| {
            let error = server::describe(&error);
            io::Error::other(format!("cannot write {}: {error}", path.display()))
        },
    )
}

fn listen(ports: &[SharedPort], backlog: i32) -> io::Result<Vec<Listener>> {
    ports.iter().map(|port| port.listen(backlog)).collect()
}

/// Makes the kernel end this process when its parent `master` is gone, for any reason. Outside Linux a process stays
/// when its parent is killed.
pub fn die_with(master: u32) {
    #[cfg(target_os = "linux")]
    {
        let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM);
        if std::os::unix::process::parent_id() != master {
            process::exit(1); // the master has ended already
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = master;
}
