//! The `raptor` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    raptor::cli::main(std::env::args_os())
}
