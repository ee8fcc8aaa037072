//! `raptor prune`

use clap::Args;

use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::hands::package::give_back_left;
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::output::progress::progress;
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
    let left = give_back_left(invocation, progress(invocation), interrupt.clone()).await?;
    if left > 0 {
        let done = if invocation.dry_run { "to give back" } else { "given back" };
        invocation.note(&format!("{done}: {left} machines of packages that were broken off"));
        if connection::read_contexts(invocation)?.contexts.is_empty() {
            return Ok(ExitStatus::DONE);
        }
    }
    match perform::run(invocation, &Request::Prune, interrupt).await? {
        Done::Nothing => Ok(ExitStatus::DONE),
        Done::Performed(done) => perform::report(invocation, &done.outcomes),
    }
}
