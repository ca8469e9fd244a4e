//! # Idea
//! Accept a client, serve it to the end, accept the next.
//!
//! # What to watch
//! `cargo run -p simple-client -- localhost 8080 -n 3`: the second client's `*` arrives 2.2 s late, the third's 4.4 s.
//! All three were connected at once; the kernel completes connections without us and queues them in the backlog.
//!
//! # Limits that lead to step 2
//! A client that says nothing holds up all who come after it, for as long as it likes.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use server::{Listener, serve_connection};

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    server::run(&arguments.options, serve)
}

fn serve(mut listener: Listener) -> io::Result<()> {
    while let Some(stream) = listener.accept()? {
        serve_connection(stream);
    }
    Ok(())
}
