//! # Idea
//! A thread for each client: it may sleep as long as it likes, the others do not notice.
//!
//! # What changed since step 1
//! `serve_connection` runs on a thread of its own. The code that serves a client has not changed at all.
//!
//! # What to watch
//! `cargo run -p simple-client -- localhost 8080 -n 50` takes as long as `-n 1`. Then what each thread costs:
//! `cargo run --release -p step2-thread-per-client -- --spam 10000`.
//!
//! # Limits that lead to step 3
//! Ten thousand clients that say nothing cost ten thousand threads that do nothing. What is a thread doing while it
//! waits?

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use protocol::{GREETING, Session};
use server::{Listener, Stream};

mod spam;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,

    /// Serve nobody: start N idle threads, say what they cost, and end
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    spam: Option<u32>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(threads) = arguments.spam {
        return spam::run(threads);
    }
    server::run(&arguments.options, serve)
}

fn serve(mut listener: Listener) -> io::Result<()> {
    while let Some(stream) = listener.accept()? {
        // Not thread::spawn: that panics when the system has no thread left.
        let spawned = thread::Builder::new().spawn(move || serve_connection(stream));
        if let Err(no_thread) = spawned {
            listener.refused(no_thread);
        }
    }
    Ok(())
}

/// The conversation with one peer. Every call in here may put the thread to sleep: recv until the peer speaks, send until
/// the peer reads.
fn serve_connection(mut stream: Stream) -> io::Result<()> {
    let mut session = Session::new();
    let mut input = vec![0; 64 * 1024];
    let mut reply = Vec::new();

    stream.write_all(&[GREETING])?;
    loop {
        let received = stream.read(&mut input)?;
        if received == 0 {
            return Ok(()); // the peer will send no more
        }
        reply.clear();
        session.receive(&input[..received], &mut reply);
        stream.write_all(&reply)?;
    }
}
