//! # Idea
//! The same function on a runtime that people use: Tokio.
//!
//! # What changed since async-echo
//! The executor, the reactor and the wakers are Tokio's. With `--threads` every core has a thread that polls tasks, and
//! an idle thread steals tasks from another.
//!
//! # What to watch
//! `cargo run --release -p ladder -- --all --only echo`: the two beside each other.
//!
//! # Limits
//! A task that computes still holds up the thread that polls it. And a future that may move between threads must be
//! `Send`.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use net::{Listener, Stream};
use protocol::{GREETING, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;

mod net;

/// The echo server as async functions, on Tokio
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,

    /// Poll tasks on a thread for each core, instead of on one thread
    #[arg(long)]
    threads: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut runtime = match arguments.threads {
        true => Builder::new_multi_thread(),
        false => Builder::new_current_thread(),
    };
    server::run(&arguments.options, |listener| {
        runtime.enable_io().build()?.block_on(serve(listener))
    })
}

async fn serve(listener: server::Listener) -> io::Result<()> {
    let mut listener = Listener::new(listener)?;
    while let Some(stream) = listener.accept().await? {
        // A peer that fails ends its task, like a peer that leaves. Its stream has logged why.
        tokio::spawn(serve_connection(stream));
    }
    Ok(())
}

/// The conversation with one peer. Every call in here may put the task to sleep: read until the peer speaks, write
/// until the peer reads.
async fn serve_connection(mut stream: Stream) -> io::Result<()> {
    let mut session = Session::new();
    let mut input = vec![0; 64 * 1024];
    let mut reply = Vec::new();

    stream.write_all(&[GREETING]).await?;
    loop {
        let received = stream.read(&mut input).await?;
        if received == 0 {
            return Ok(()); // the peer will send no more
        }
        reply.clear();
        session.receive(&input[..received], &mut reply);
        stream.write_all(&reply).await?;
    }
}
