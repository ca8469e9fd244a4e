//! # Idea
//! The lines of step 1, and the thread of step 6. At `.await` only the function sleeps, and the thread does not.
//!
//! # What changed since step 1
//! Where `serve_connection` put the thread to sleep, it says `.await`. A client is a task and not a thread. Its state
//! is in the future that the compiler makes of the function.
//!
//! # What to watch
//! `cargo run --release -p ladder -- --only 2 --only 6 --only async-echo`: the time of step 2, on the one thread of
//! step 6.
//!
//! # Limits that lead to the rest of the lab
//! A task that computes, or that sleeps in another way than at `.await`, holds up all others: step 7's first problem
//! again.

use std::io;
use std::process::ExitCode;

use async_await::{Listener, Stream, block_on, spawn};
use clap::Parser;
use protocol::{GREETING, Session};

/// The echo server as async functions, on an executor of its own
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    server::run(&arguments.options, |listener| block_on(serve(listener))?)
}

async fn serve(listener: server::Listener) -> io::Result<()> {
    let mut listener = Listener::new(listener)?;
    while let Some(stream) = listener.accept().await? {
        // A peer that fails ends its task, like a peer that leaves. Its stream has logged why.
        spawn(serve_connection(stream));
    }
    Ok(())
}

/// The conversation with one peer. Every call in here may put the task to sleep: read until the peer speaks, write
/// until the peer reads.
async fn serve_connection(mut stream: Stream) -> io::Result<()> {
    let mut session = Session::new();
    let mut reply = Vec::new();

    stream.write_all(&[GREETING]).await?;
    loop {
        let input = stream.read().await?;
        if input.is_empty() {
            return Ok(()); // the peer will send no more
        }
        session.receive(&input, &mut reply);
        stream.write_all(&reply).await?;
        reply = Vec::new(); // a silent peer must not keep the memory of its last reply
    }
}
