//! Send a number on a line, learn whether it is prime. The work is slow on purpose. `--mode` says where it is done: in
//! the callback (`block`), which holds up every other client, or on the pool (`pool`), which does not.
//!
//! `cargo run --release -p step7-event-loop --example isprime-server -- 8070 --mode pool`

use std::io;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use nix::sys::signal::Signal;
use server::{Listener, shutdown};
use step7_event_loop::{Loop, StreamId, WorkError};

/// Reads a number on a line, and answers whether it is prime
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,

    /// Where a number is tested
    #[arg(long, value_enum, default_value_t = Mode::Pool)]
    mode: Mode,
}

/// The loop's state: all that the callbacks share.
#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// In the callback: no other client is served meanwhile
    Block,
    /// On a thread of the pool
    Pool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    server::run(&arguments.options, |listener| serve(listener, arguments.mode))
}

fn serve(listener: Listener, mut mode: Mode) -> io::Result<()> {
    let mut lp = Loop::new()?;
    let listener =
        lp.listen(listener, |lp, mode, stream| next_line(lp, mode, stream, Vec::new()))?;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        lp.signal_start(signal, move |lp, _, _| {
            lp.close_listener_gently(listener, shutdown::GRACE, |lp, _| lp.stop());
        })?;
    }
    lp.run(&mut mode)
}

/// Every u64 is shorter. A client that never ends its line must not fill our memory.
const LONGEST_LINE: usize = 64;

/// Answers the next line of `received`, or reads until there is one. The bytes that are not answered yet are the
/// client's whole state, and move from callback to callback. While a number is being tested, the server does not read
/// from its client, so the answers come in the order of the questions.
fn next_line(lp: &mut Loop<Mode>, mode: &mut Mode, stream: StreamId, mut received: Vec<u8>) {
    let end = received.iter().position(|&byte| byte == b'\n');
    if let Some(end) = end.filter(|&end| end <= LONGEST_LINE) {
        let rest = received.split_off(end + 1);
        let line = String::from_utf8_lossy(&received).trim().to_owned();
        return answer(lp, mode, stream, &line, rest);
    }
    if end.is_some() || received.len() > LONGEST_LINE {
        lp.write(stream, b"error: the line is too long\n");
        return lp.close_gently(stream);
    }
    lp.read_start(stream, move |lp, mode, stream, bytes| match bytes {
        Ok(bytes @ [_, ..]) => {
            received.extend_from_slice(bytes);
            lp.read_stop(stream);
            next_line(lp, mode, stream, std::mem::take(&mut received));
        }
        // The end, or an error that the stream has logged.
        _ => lp.close_gently(stream),
    });
}

fn answer(lp: &mut Loop<Mode>, mode: &mut Mode, stream: StreamId, line: &str, rest: Vec<u8>) {
    match (line.parse::<u64>(), *mode) {
        (Ok(number), Mode::Block) => send(lp, stream, text_of(Ok(is_prime(number))), rest),
        (Ok(number), Mode::Pool) => {
            // If the client has left meanwhile, the write reports it, and nothing worse happens.
            let after =
                move |lp: &mut _, _: &mut _, result| send(lp, stream, text_of(result), rest);
            lp.queue_work(move || is_prime(number), after);
        }
        (Err(_), _) => {
            let text = format!("error: {line:?} is not a number from 0 to {}\n", u64::MAX);
            send(lp, stream, text, rest);
        }
    }
}

fn send(lp: &mut Loop<Mode>, stream: StreamId, text: String, rest: Vec<u8>) {
    lp.write_then(stream, text.as_bytes(), move |lp, mode, result| match result {
        Ok(()) => next_line(lp, mode, stream, rest),
        Err(_) => lp.close(stream),
    });
}

fn text_of(result: Result<bool, WorkError>) -> String {
    match result {
        Ok(true) => "prime\n".to_owned(),
        Ok(false) => "composite\n".to_owned(),
        Err(error) => format!("error: {error}\n"),
    }
}

/// Trial division: right for every number, and slow on purpose. 0 and 1 are neither prime nor composite; here they
/// count as not prime.
fn is_prime(number: u64) -> bool {
    if number < 4 {
        return number >= 2;
    }
    if number.is_multiple_of(2) {
        return false;
    }
    let mut divisor = 3;
    // Not divisor * divisor <= number, which overflows near 2^64.
    while divisor <= number / divisor {
        if number.is_multiple_of(divisor) {
            return false;
        }
        divisor += 2;
    }
    true
}
