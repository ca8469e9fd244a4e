//! An echo server with a pool of eight threads: each serves a client to its end, and takes the next.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use clap::Parser;
use protocol::{GREETING, Session};
use server::{Listener, Stream};

/// An echo server with a pool of eight threads
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    server::run(&arguments.options, serve)
}

/// How many clients are served at a time. The others wait in the queue.
const THREADS: usize = 8;

fn serve(mut listener: Listener) -> io::Result<()> {
    let (queue, connections) = mpsc::channel();
    let connections = Arc::new(Mutex::new(connections));
    for number in 1..=THREADS {
        let connections = Arc::clone(&connections);
        let thread = thread::Builder::new().name(format!("pool-{number}"));
        thread.spawn(move || serve_connections(&connections))?;
    }
    while let Some(stream) = listener.accept()? {
        // There is a receiver as long as there is a thread, and those do not end before we do.
        let _ = queue.send(stream);
    }
    Ok(())
}

/// What a thread of the pool does.
fn serve_connections(connections: &Mutex<Receiver<Stream>>) {
    while let Ok(stream) = connections.lock().unwrap_or_else(PoisonError::into_inner).recv() {
        // A peer that fails ends here, like one that leaves; its stream has logged why.
        let _ = serve_connection(stream);
    }
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
