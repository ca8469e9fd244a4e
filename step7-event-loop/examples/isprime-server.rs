//! Send a number on a line, learn whether it is prime. The work is deliberately slow, and `--mode` says who does it: the
//! callback itself (`block`), which holds up every other client, or the pool (`pool`), which holds up nobody. Told to stop,
//! it stops at once: a number that is being tested then gets no answer.
//!
//! `cargo run --release -p step7-event-loop --example isprime-server -- 8070 --mode pool`

use std::io;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use nix::sys::signal::Signal;
use server::Listener;
use step7_event_loop::{Loop, StreamId, WorkError};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: server::Options,

    /// Where a number is tested
    #[arg(long, value_enum, default_value_t = Mode::Pool)]
    mode: Mode,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// In the callback: nobody else is served meanwhile
    Block,
    /// On a thread of the pool
    Pool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    server::run(&arguments.options, |listener| serve(listener, arguments.mode))
}

fn serve(listener: Listener, mode: Mode) -> io::Result<()> {
    let mut lp = Loop::new()?;
    lp.listen(listener, move |lp, accepted| {
        if let Ok(stream) = accepted {
            next_line(lp, stream, mode, Vec::new());
        }
    })?;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        lp.signal_start(signal, |lp, _| lp.stop())?;
    }
    if server::shutdown::requested() {
        return Ok(());
    }
    lp.run()
}

/// No number of a u64 is longer, and a client that never ends its line must not fill our memory.
const LONGEST_LINE: usize = 64;

/// Answers the next line of `received`, or reads until there is one. What has been received and not been answered moves
/// from callback to callback, and with it the client's whole state: while its number is being tested nobody reads from
/// the client, and so the answers come in the order of the questions.
fn next_line(lp: &mut Loop, stream: StreamId, mode: Mode, mut received: Vec<u8>) {
    let end = received.iter().position(|&byte| byte == b'\n');
    if let Some(end) = end.filter(|&end| end <= LONGEST_LINE) {
        let rest = received.split_off(end + 1);
        let line = String::from_utf8_lossy(&received).trim().to_owned();
        answer(lp, stream, mode, &line, rest);
        return;
    }
    if end.is_some() || received.len() > LONGEST_LINE {
        lp.write(stream, "error: the line is too long\n", |_, _| ());
        lp.shutdown(stream, move |lp, _| lp.close(stream, |_| ()));
        return;
    }
    let reading = lp.read_start(stream, move |lp, stream, bytes| match bytes {
        Ok(bytes @ [_, ..]) => {
            received.extend_from_slice(bytes);
            let _ = lp.read_stop(stream);
            next_line(lp, stream, mode, std::mem::take(&mut received));
        }
        // The end, or an error. What was written before is still sent.
        _ => lp.shutdown(stream, move |lp, _| lp.close(stream, |_| ())),
    });
    if reading.is_err() {
        lp.close(stream, |_| ());
    }
}

fn answer(lp: &mut Loop, stream: StreamId, mode: Mode, line: &str, rest: Vec<u8>) {
    let number = match line.parse::<u64>() {
        Ok(number) => number,
        Err(_) => {
            let text = format!("error: {line:?} is not a number from 0 to {}\n", u64::MAX);
            lp.write(stream, text, move |lp, result| go_on(lp, stream, mode, rest, result));
            return;
        }
    };
    match mode {
        Mode::Block => {
            let text = text_of(Ok(is_prime(number)));
            lp.write(stream, text, move |lp, result| go_on(lp, stream, mode, rest, result));
        }
        Mode::Pool => {
            lp.queue_work(
                move || is_prime(number),
                // The client may have left meanwhile: then the write reports it, and nothing worse happens.
                move |lp, result| {
                    let text = text_of(result);
                    lp.write(stream, text, move |lp, result| go_on(lp, stream, mode, rest, result));
                },
            );
        }
    }
}

fn go_on(lp: &mut Loop, stream: StreamId, mode: Mode, rest: Vec<u8>, result: io::Result<()>) {
    match result {
        Ok(()) => next_line(lp, stream, mode, rest),
        Err(_) => lp.close(stream, |_| ()),
    }
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
