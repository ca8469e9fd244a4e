//! What this stage promises, tested through its binary.

use std::process::ExitCode;

use check::{OwnTest, Promise, idle_costs_nothing, idle_memory};

fn main() -> ExitCode {
    let own: &[OwnTest] = &[
        ("ten-thousand", |binary| idle_memory(binary, 10_000, 500)),
        ("idle", |binary| idle_costs_nothing(binary, &["0"], 1000)),
    ];
    check::harness(env!("CARGO_BIN_EXE_step6-epoll-kqueue"), &[&[]], &Promise::ALL, own)
}
