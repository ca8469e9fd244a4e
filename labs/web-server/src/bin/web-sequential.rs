//! One browser at a time: the next one waits until this one's page is done.

use std::io;
use std::process::{self, ExitCode};

use clap::Parser;
use server::Listener;
use web_server::connection::serve_connection;
use web_server::{Options, options, site};

/// A web server that serves one browser at a time
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
    // A kept connection would keep all other browsers out, and its next request may never come.
    let terms = options.terms(false);
    while let Some(stream) = listener.accept()? {
        serve_connection(stream, &site, terms, &format!("process {}", process::id()));
    }
    Ok(())
}
