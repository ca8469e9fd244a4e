//! The state machine that is written by hand serves like the compiler's.

use std::process::ExitCode;

use check::Promise;

fn main() -> ExitCode {
    let promises = [Promise::Protocol, Promise::Isolation, Promise::Backpressure];
    match check::example("state-machine") {
        Ok(binary) => check::harness(&binary, &[&[]], &promises, &[]),
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
