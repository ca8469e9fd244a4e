//! An echo server with a thread for each client.

use std::io::{self, Read};
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::write;
use protocol::{GREETING, Session};
use server::sys::{self, Syscall};
use server::{Listener, Stream};

/// An echo server with a thread for each client
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // In `museum-2 --help | head -1` it ends without a word, as every program of Unix does.
    // SAFETY: no handler of ours is installed, and there is no second thread yet.
    #[allow(unsafe_code)]
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
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
    // A page, and not more: there may be ten thousand threads.
    let mut input = vec![0; 4 * 1024];
    let mut reply = Vec::new();

    send(&stream, &[GREETING])?;
    loop {
        let received = stream.read(&mut input)?;
        if received == 0 {
            return Ok(()); // the peer will send no more
        }
        reply.clear();
        session.receive(&input[..received], &mut reply);
        send(&stream, &reply)?;
    }
}

/// Sends all of it.
fn send(stream: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = sys::call(Syscall::Send, || Ok(write(stream, bytes)?))?;
        bytes = &bytes[sent..];
    }
    Ok(())
}
