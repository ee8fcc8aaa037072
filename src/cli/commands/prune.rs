//! `raptor prune`

use clap::Args;

use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::perform;
use crate::cli::perform::Done;
use crate::cli::perform::Request;

/// Remove what is dead: failed and departed members, and machines that nobody wants any more
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor prune --dry-run
  raptor prune --yes")]
pub struct PruneArguments {}

/// Prunes, after the plan was shown and confirmed.
///
/// # Errors
/// Declined, or nothing could be begun.
pub async fn run(invocation: &Invocation, interrupt: Interrupt) -> Result<ExitStatus, CliError> {
    match perform::run(invocation, &Request::Prune, interrupt).await? {
        Done::Nothing => Ok(ExitStatus::DONE),
        Done::Performed(done) => perform::report(invocation, &done.outcomes),
    }
}
