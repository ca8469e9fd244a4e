//! # Idea
//! The lines of step 1, and the thread of step 6: a function that sleeps at `.await`, and only it.
//!
//! # What changed since step 1
//! Where `serve_connection` put the thread to sleep, it says `.await`. A client is a task, no thread; its state is in the
//! future that the compiler has made of the function.
//!
//! # What to watch
//! `cargo run --release -p ladder -- --only 2 --only 6 --only async-echo`: the time of step 2, on the one thread of step 6.
//!
//! # Limits that lead to the rest of the lab
//! A task that computes, or sleeps in any other way than at `.await`, holds up all others: step 7's first problem again.

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
        // A peer that fails ends here, as one that leaves; its stream has logged why.
        spawn(serve_connection(stream));
    }
    Ok(())
}

/// The conversation with one peer. Every call in here may put the task to sleep: read until the peer speaks, write until
/// the peer reads.
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
        reply = Vec::new(); // what is not given back here is kept as long as the peer says nothing
    }
}
