//! # Idea
//! What "blocking" means: a call that does not return until it has something to return.
//!
//! # What changed since step 2
//! One thread again. `serve_connection` is taken apart into callbacks, cut at each call that may sleep, and the log
//! shows every such call before it is made and after it has returned.
//!
//! # What to watch
//! Connect and say nothing (`cargo run -p simple-client -- localhost 8080`): the log stops at `Calling recv...` for
//! the whole second in which the client pauses. So does the thread.
//!
//! # Limits that lead to step 4
//! The one thread sleeps in one client's recv while others have things to say.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use peer::{Buffers, Interest, Peer, on_peer_connected, on_peer_ready_recv, on_peer_ready_send};
use server::{Listener, Stream};

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    server::run(&arguments.options.verbose(), serve)
}

fn serve(mut listener: Listener) -> io::Result<()> {
    let mut buffers = Buffers::new();
    while let Some(stream) = listener.accept()? {
        let mut peer = on_peer_connected(stream);
        while on_peer_ready(&mut peer, &mut buffers) != Interest::NONE {}
    }
    Ok(())
}

fn on_peer_ready(peer: &mut Peer<Stream>, buffers: &mut Buffers) -> Interest {
    let result = match peer.interest() {
        Interest::WRITE => on_peer_ready_send(peer),
        _ => on_peer_ready_recv(peer, buffers),
    };
    match result {
        Ok(interest) => interest,
        // The stream has logged why. Only this peer ends.
        Err(_) => Interest::NONE,
    }
}
