//! `thundering-herd`: the prefork server.

use std::process::ExitCode;

use clap::Parser;
use thundering_herd::command;

fn main() -> ExitCode {
    command::serve(command::Arguments::parse())
}
