//! The server's promises, tested through its binary: those of all concurrent stages.

use std::process::ExitCode;

use check::{OwnTest, Promise, idle_costs_nothing, idle_memory};

fn main() -> ExitCode {
    let own: &[OwnTest] = &[
        ("idle", |binary| idle_costs_nothing(binary, &["0"], 1000)),
        ("ten-thousand", |binary| idle_memory(binary, 10_000, 1024)),
    ];
    check::harness(env!("CARGO_BIN_EXE_async-echo"), &[&[]], &Promise::ALL, own)
}
