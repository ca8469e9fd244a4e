//! # Idea
//! Accept a client, serve it to the end, accept the next.
//!
//! # What to watch
//! `cargo run -p simple-client -- localhost 8080 -n 3`: the second client's `*` arrives 2.2 s late, the third's 4.4 s.
//! All three were connected at once; the kernel completes connections without us and queues them in the backlog.
//!
//! # Limits that lead to step 2
//! A client that says nothing holds up all clients after it, for as long as it likes.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use clap::Parser;
use protocol::{GREETING, Session};
use server::{Listener, Stream};

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
        // A peer that fails ends here, like one that leaves; its stream has logged why.
        let _ = serve_connection(stream);
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
