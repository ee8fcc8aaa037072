//! What commands print: answers on standard output, all else on standard error.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::cli::error::CliError;

pub mod duration;
pub mod exec;
pub mod members;
pub mod mesh;
pub mod progress;
pub mod table;

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with wide screens.
    Wide,
    /// For programs.
    Json,
}

impl Format {
    /// Whether programs read it.
    #[must_use]
    pub fn is_json(self) -> bool {
        self == Self::Json
    }
}

/// Writes a line to standard error. Nobody is left to be told when that is gone.
pub fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints one JSON document.
///
/// # Errors
/// Standard output is gone.
pub fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::bug(format!("the answer is no JSON: {error}")))?;
    text.push('\n');
    print(&text)
}

/// Prints text as it is.
///
/// # Errors
/// Standard output is gone.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(())
}
