//! What this stage promises, tested through its binary.

use std::process::ExitCode;

use check::{Promise, idle_costs_nothing};

fn main() -> ExitCode {
    let own: &[check::OwnTest] = &[("idle", |binary| idle_costs_nothing(binary, &["0"], 1000))];
    check::harness(env!("CARGO_BIN_EXE_step7-event-loop"), &[&[]], &Promise::ALL, own)
}
