//! The server on Tokio promises the same, on one thread and on all cores.

use std::process::ExitCode;

use check::{OwnTest, Promise, idle_costs_nothing};

fn main() -> ExitCode {
    let own: &[OwnTest] = &[("idle", |binary| idle_costs_nothing(binary, &["0"], 1000))];
    let variants: &[&[&str]] = &[&[], &["--threads"]];
    check::harness(env!("CARGO_BIN_EXE_tokio-echo"), variants, &Promise::ALL, own)
}
