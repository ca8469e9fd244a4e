//! What this stage promises, tested through its binary.

use std::process::ExitCode;

use check::Promise;

fn main() -> ExitCode {
    check::harness(env!("CARGO_BIN_EXE_step6-epoll-kqueue"), &[], &Promise::ALL, Vec::new())
}
