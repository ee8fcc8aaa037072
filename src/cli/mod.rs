//! Floor 5: the command line. One file a command, its arguments beside its function; the only room
//! that prints.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::builder::OsStr;
use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _};

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
    let is_empty = |name: &str| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let parsed = command(is_empty).try_get_matches_from(&words);
    let arguments = match parsed.and_then(|matches| Arguments::from_arg_matches(&matches)) {
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

/// The command line. A variable that is set to nothing says nothing.
fn command(is_empty: impl Fn(&str) -> bool) -> clap::Command {
    let mut command = Arguments::command();
    for (argument, variable) in [("cluster", "RAPTOR_CLUSTER"), ("home", "RAPTOR_HOME")] {
        if is_empty(variable) {
            command = command.mut_arg(argument, |it| it.env(Resettable::<OsStr>::Reset));
        }
    }
    command
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_none() {
        let asked = |is_empty: bool| {
            let command = command(|_| is_empty);
            let is_asked = |argument: &clap::Arg| argument.get_env().is_some();
            command.get_arguments().filter(|it| is_asked(it)).count()
        };
        assert_eq!(asked(false) - asked(true), 2);
    }

    /// Every command that `command --help` shows, with the words that lead to it.
    fn every(command: &clap::Command, words: &str, shown: &mut Vec<(String, clap::Command)>) {
        for inner in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            let words = format!("{words} {}", inner.get_name());
            shown.push((words.clone(), inner.clone()));
            every(inner, &words, shown);
        }
    }

    #[test]
    fn long_help_has_examples() {
        let mut shown = Vec::new();
        every(&command(|_| false), "raptor", &mut shown);
        assert!(shown.len() > 60, "{}", shown.len());
        let lacks = |(words, command): &(String, clap::Command)| {
            let end = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            let is_there = end.starts_with("Examples:\n") && end.contains(words.as_str());
            (!is_there).then(|| words.clone())
        };
        let without: Vec<String> = shown.iter().filter_map(lacks).collect();
        assert!(without.is_empty(), "{without:#?}");
    }
}
