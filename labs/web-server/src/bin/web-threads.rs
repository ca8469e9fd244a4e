//! A thread for each browser: the threads share one memory, and the work of one does not hold up the others.

use std::io;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use server::Listener;
use web_server::connection::serve_connection;
use web_server::{Options, options, site};

/// A web server with a thread for each browser
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let arguments: Arguments = options::parse();
    site::log_panics();
    server::run(&arguments.options.server, |listener| serve(listener, &arguments.options))
}

fn serve(mut listener: Listener, options: &Options) -> io::Result<()> {
    let site = options.site(false);
    let terms = options.terms(true);
    let mut number = 0;
    while let Some(stream) = listener.accept()? {
        number += 1;
        let who = format!("thread {number}");
        // A panic ends this thread. Unwinding drops the stream, and that ends the connection.
        let spawned =
            thread::Builder::new().spawn(move || serve_connection(stream, &site, terms, &who));
        if let Err(no_thread) = spawned {
            listener.refused(no_thread);
        }
    }
    Ok(())
}
