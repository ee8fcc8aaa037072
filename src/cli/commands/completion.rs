//! `raptor completion`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::arguments::Arguments;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::output::print;

/// Print a script that teaches a shell to complete raptor's commands
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  source <(raptor completion bash)
  raptor completion fish > ~/.config/fish/completions/raptor.fish")]
pub struct CompletionArguments {
    /// Which shell
    pub shell: Shell,
}

/// Prints the script. Touches nothing.
///
/// # Errors
/// Standard output is gone.
pub fn run(arguments: &CompletionArguments) -> Result<ExitStatus, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "raptor", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitStatus::DONE)
}
