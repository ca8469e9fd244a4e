//! A process for each browser. The processes share nothing, so a crash of one does not touch the others.
//!
//! The parent accepts, forks, and closes its descriptor of the connection; the child closes the listener and serves.
//! The parent must wait for each child that has ended. Otherwise the child stays as a *zombie*: an entry in the process
//! table that only says how it ended. SIGCHLD says when to wait.

use std::collections::HashSet;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{self, ExitCode};

use clap::Parser;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, fork};
use server::{Listener, Stream, logging, shutdown, signals};
use step6_epoll_kqueue::{Interest, Poller};
use subprocess::children;
use tracing::{error_span, warn};
use web_server::connection::serve_connection;
use web_server::{Options, options};

/// A web server with a process for each browser
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,

    /// How many browsers are served at a time; further ones wait in the backlog
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    max_children: u32,
}

fn main() -> ExitCode {
    let arguments: Arguments = options::parse();
    server::run(&arguments.options.server, |listener| serve(listener, &arguments))
}

const LISTENER: u64 = 0;
const CHILDREN: u64 = 1;

fn serve(listener: Listener, arguments: &Arguments) -> io::Result<()> {
    // So that each line of the log names its process.
    let _log = error_span!("parent", pid = process::id()).entered();
    let mut children = HashSet::new();
    let outcome = accept_and_fork(listener, arguments, &mut children);
    children::stop(children.into_iter().collect());
    outcome
}

fn accept_and_fork(
    mut listener: Listener,
    arguments: &Arguments,
    children: &mut HashSet<Pid>,
) -> io::Result<()> {
    let most = arguments.max_children as usize;
    // The parent does not wait in accept. SIGCHLD could come just before accept, and would not interrupt it: the child
    // would stay a zombie until the next browser comes.
    let mut ended = signals::watch(Signal::SIGCHLD)?;
    // A connection can go away between wait and accept. A blocking accept would then wait for the next one.
    listener.set_nonblocking()?;
    let mut poller = Poller::new()?;
    poller.add(&ended, CHILDREN, Interest::READ)?;
    poller.add(&listener, LISTENER, Interest::READ)?;
    let mut events = Vec::new();
    let mut accepting = true;
    while !shutdown::requested() {
        poller.wait(&mut events, None)?;
        for token in events.iter().map(|event| event.token) {
            if token == CHILDREN {
                let _news = ended.read(&mut [0; 1024]);
                reap(children);
            } else if children.len() < most
                && let Some(stream) = listener.accept()?
            {
                // Both processes would write what is in a buffer.
                logging::finish();
                // SAFETY: this process has one thread, so its child may do whatever a process may (fork(2)).
                #[allow(unsafe_code)]
                match unsafe { fork() } {
                    Ok(ForkResult::Child) => {
                        // While a child has the listener open, the port stays taken, even after the parent's end.
                        drop(listener);
                        serve_and_exit(stream, &arguments.options)
                    }
                    Ok(ForkResult::Parent { child }) => {
                        children.insert(child);
                        // The connection ends when its *last* descriptor is closed. If the parent kept its own, a
                        // client that waits for the end would wait as long as the parent lives, and the parent would
                        // run out of descriptors.
                        drop(OwnedFd::from(stream));
                    }
                    Err(no_process) => listener.refused(no_process.into()),
                }
            }
        }
        // While the parent may not accept, a ready listener would make every wait return at once.
        if accepting && children.len() == most {
            poller.delete(&listener)?;
            accepting = false;
        } else if !accepting && children.len() < most {
            poller.add(&listener, LISTENER, Interest::READ)?;
            accepting = true;
        }
    }
    Ok(())
}

/// All that a child does.
fn serve_and_exit(stream: Stream, options: &Options) -> ! {
    // In place of the parent's span, which the child has inherited.
    let log = error_span!(parent: None, "child", pid = process::id()).entered();
    let who = format!("process {}", process::id());
    if stream.set_nonblocking(false).is_ok() {
        serve_connection(stream, &options.site(true), options.terms(true), &who);
    }
    server::linger();
    drop(log);
    logging::finish();
    process::exit(0)
}

/// Waits for every child that has ended. One signal may stand for several of them.
fn reap(children: &mut HashSet<Pid>) {
    while let Some((pid, how)) = children::ended() {
        if !children.remove(&pid) {
            continue; // a child of the program that this process was before exec
        }
        shutdown::on_client_left();
        if how != "ended with 0" {
            warn!("child {pid} {how}");
        }
    }
}
