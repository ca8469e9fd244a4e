//! async-echo once more, with a state machine that is written by hand in place of the compiler's: `diff` the two files
//! beside this one. It serves as async-echo does:
//!
//! `cargo run --release -p async-await --example state-machine -- 8080`; and with `--sizes` it says what a client takes
//! in each of the course's models.

use std::io;
use std::process::ExitCode;

use async_await::{Listener, Stream, block_on, spawn};
use by_hand::ServeConnection;
use by_the_compiler::serve_connection;
use clap::Parser;
use peer::Peer;
use protocol::Session;
use step7_event_loop::{Loop, StreamId};

mod by_hand;
mod by_the_compiler;

/// The echo server with a future that is written by hand
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,

    /// Do not serve: print the size of a client's state in bytes
    #[arg(long)]
    sizes: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.sizes {
        print_sizes();
        return ExitCode::SUCCESS;
    }
    server::run(&arguments.options, |listener| block_on(serve(listener))?)
}

async fn serve(listener: server::Listener) -> io::Result<()> {
    let mut listener = Listener::new(listener)?;
    while let Some(stream) = listener.accept().await? {
        spawn(ServeConnection::Unstarted { stream });
    }
    Ok(())
}

fn print_sizes() {
    let mut session = Session::new();
    // The callback that step 7's main.rs gives to read_start.
    let callback = move |lp: &mut Loop<()>, _: &mut (), stream: StreamId, bytes: &[u8]| {
        let mut reply = Vec::new();
        session.receive(bytes, &mut reply);
        lp.write(stream, &reply);
    };
    println!("step 2: the thread's stack, reserved   {:>9}", 2 * 1024 * 1024);
    println!("step 6: Peer                           {:>9}", size_of::<Peer<server::Stream>>());
    println!("step 7: what the callback has captured {:>9}", size_of_val(&callback));
    println!("async: the compiler's future           {:>9}", size_of_future(serve_connection));
    println!("async: the future by hand              {:>9}", size_of::<ServeConnection>());
}

/// The size of the future that the function returns.
fn size_of_future<F: Future>(_: fn(Stream) -> F) -> usize {
    size_of::<F>()
}
