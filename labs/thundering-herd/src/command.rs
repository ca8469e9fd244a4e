//! The server's command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::{App, Mode, master};

/// Several processes wait for the same connections
#[derive(Debug, Parser)]
pub struct Arguments {
    /// The port to listen on; 0 lets the kernel pick a free one. Several, if the workers are to wait for several listeners [default:
    /// 8080; for --app chat 8080 and 8081]
    #[arg(value_name = "PORT")]
    ports: Vec<u16>,

    /// How the workers wait for a connection
    #[arg(long, value_enum, default_value_t = Mode::Level)]
    mode: Mode,

    /// What they do with it
    #[arg(long, value_enum, default_value_t = App::Print)]
    app: App,

    /// How many workers there are: threads in the mode oneshot, processes in all others
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    workers: u16,

    /// As the option was called before it was an argument.
    #[arg(short = 'p', long = "port", value_name = "PORT", hide = true)]
    more_ports: Vec<u16>,

    /// The address to listen on; anything but loopback lets the network in
    #[arg(long, default_value = "127.0.0.1")]
    host: String,

    /// How many connections may wait, established, for accept (the kernel caps it: net.core.somaxconn)
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(i32).range(1..))]
    backlog: i32,

    /// With --mode reuseport: the master makes the listeners and keeps them, so that they outlive their workers
    #[arg(long)]
    keep_listeners: bool,

    /// Share what each worker does now: three 64-bit numbers in a row of FILE, accepts begun, accepts returned, connections
    #[arg(long, value_name = "FILE")]
    scoreboard: Option<PathBuf>,

    /// Log every call that can wait
    #[arg(short, long)]
    verbose: bool,

    /// Log nothing but warnings
    #[arg(short, long)]
    quiet: bool,

    /// Each worker prints what it did as one JSON object when it ends
    #[arg(long)]
    stats: bool,
}

/// Runs the server as it was told; an error becomes one line on stderr and exit code 1.
pub fn serve(arguments: Arguments) -> ExitCode {
    let Arguments { mode, app, keep_listeners, stats, backlog, .. } = arguments;
    let mut ports = [arguments.ports, arguments.more_ports].concat();
    if ports.is_empty() {
        ports = if app == App::Chat { vec![8080, 8081] } else { vec![8080] };
    }
    // clap cannot check these: each option is fine by itself.
    let usage = |text: &str| -> ! {
        clap::Error::raw(ErrorKind::ArgumentConflict, format!("{text}\n")).exit()
    };
    if mode == Mode::Accept && app == App::Chat {
        usage(
            "a worker that sleeps in accept has one client at a time: --app chat needs another --mode",
        );
    }
    if mode == Mode::Accept && ports.len() > 1 {
        usage("a worker that sleeps in accept waits for one listener: give --mode accept one port");
    }
    if mode == Mode::Oneshot && app == App::Chat {
        usage(
            "a client of --mode oneshot is one thread's at a time: --app chat needs another --mode",
        );
    }
    if keep_listeners && mode != Mode::Reuseport {
        usage(
            "--keep-listeners is about --mode reuseport: all others share a listener that the master keeps",
        );
    }

    let options = master::Options {
        mode,
        app,
        workers: arguments.workers.into(),
        host: arguments.host.clone(),
        ports,
        backlog,
        keep_listeners,
        scoreboard: arguments.scoreboard,
        stats,
    };
    let log = server::Options {
        port: 0,
        host: arguments.host,
        backlog,
        verbose: arguments.verbose,
        quiet: arguments.quiet,
        max_clients: None,
        idle_timeout: None,
        trace: None,
        once: false,
        stats,
    };
    match server::logging::start(&log).and_then(|()| master::run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            client::tell!("error: {}", server::describe(&error));
            ExitCode::FAILURE
        }
    }
}
