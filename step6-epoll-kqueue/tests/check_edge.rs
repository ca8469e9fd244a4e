//! The edge-triggered example promises what the stage promises.

use std::process::ExitCode;

use check::{Outcome, Promise, idle_costs_nothing};

fn main() -> ExitCode {
    let own: &[check::OwnTest] = &[("idle", idle)];
    match check::example("edge") {
        Ok(binary) => check::harness(&binary, &[&[]], &Promise::ALL, own),
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn idle(binary: &str) -> Outcome {
    idle_costs_nothing(binary, &["0"], 1000)
}
