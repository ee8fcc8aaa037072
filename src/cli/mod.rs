//! Floor 5: the command line. One file a command, its arguments beside its function; the only room
//! that prints.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use crate::cli::arguments::Arguments;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;

// The doc comments of arguments are the help texts, and a terminal shows backticks as they are.
pub mod agent_process;
#[allow(clippy::doc_markdown)]
pub mod arguments;
pub mod bridge;
#[allow(clippy::doc_markdown)]
pub mod commands;
pub mod configuration;
pub mod confirm;
pub mod connection;
pub mod contexts;
pub mod doors;
pub mod endpoint;
pub mod error;
pub mod exit_status;
pub mod hands;
pub mod interrupt;
pub mod inventory;
pub mod invocation;
mod moved;
#[allow(clippy::doc_markdown)]
pub mod outfit;
pub mod output;
pub mod perform;
pub mod quote;
mod revive;
pub mod secrets;
pub mod terminal;
pub mod tunnel;
mod ways;

/// Parses, runs, and says how it ended. Errors are printed here and nowhere else.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.into_iter().collect();
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) if error.kind() == ErrorKind::MissingSubcommand => {
            let text = format!("error: a command is missing\n\n{}", help(&words));
            let _ = std::io::stderr().write_all(text.as_bytes());
            return ExitStatus::USAGE.into();
        }
        Err(error) => {
            // Help and version end up here too, on standard output and with success.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let as_json = arguments.global.format().is_json();
    let status = match commands::run(arguments) {
        Ok(status) => status,
        Err(error) => report(&error, as_json),
    };
    status.into()
}

/// The help of the command that `words` begin with.
fn help(words: &[OsString]) -> String {
    let mut command = Arguments::command();
    command.build();
    for word in words.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(inner) = command.find_subcommand(word).cloned() {
            command = inner;
        }
    }
    command.render_help().to_string()
}

fn report(error: &CliError, as_json: bool) -> ExitStatus {
    // Nobody is left to be told when standard error is gone.
    let _ = std::io::stderr().write_all(error.render(as_json).as_bytes());
    error.exit_status()
}
