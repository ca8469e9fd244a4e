//! An echo server with a thread for each client, and an allowance: so many bytes a client may send, and no more.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use protocol::{GREETING, Session};
use server::{Listener, Stream};

/// An echo server with a thread for each client, and an allowance
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,

    /// How much a client may send; when it has been answered, the connection ends
    #[arg(long, value_name = "BYTES")]
    allowance: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let allowance = arguments.allowance.unwrap_or(usize::MAX);
    server::run(&arguments.options, |listener| serve(listener, allowance))
}

fn serve(mut listener: Listener, allowance: usize) -> io::Result<()> {
    while let Some(stream) = listener.accept()? {
        // Not thread::spawn: that panics when the system has no thread left.
        let spawned = thread::Builder::new().spawn(move || serve_connection(stream, allowance));
        if let Err(no_thread) = spawned {
            listener.refused(no_thread);
        }
    }
    Ok(())
}

/// The conversation with one peer. Every call in here may put the thread to sleep: recv until the peer speaks, send until
/// the peer reads.
fn serve_connection(mut stream: Stream, allowance: usize) -> io::Result<()> {
    let mut session = Session::new();
    let mut input = vec![0; 64 * 1024];
    let mut reply = Vec::new();
    let mut allowed = allowance;

    stream.write_all(&[GREETING])?;
    while allowed > 0 {
        let most = allowed.min(input.len());
        let received = stream.read(&mut input[..most])?;
        if received == 0 {
            return Ok(()); // the peer will send no more
        }
        allowed -= received;
        reply.clear();
        session.receive(&input[..received], &mut reply);
        stream.write_all(&reply)?;
    }
    Ok(())
}
