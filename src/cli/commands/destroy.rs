//! `raptor destroy`

use clap::Args;

use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::perform;
use crate::cli::perform::DestroyRequest;
use crate::cli::perform::Done;
use crate::cli::perform::Request;

/// Take machines out of the cluster and give them back to their back-end
///
/// A machine that was taken over stays, without raptor: its agent, program and log go through SSH, what
/// modules set up stays. Where no way to it is known, that is told, and `raptor clean` there does it.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor destroy web-1 web-2
  raptor destroy --all --yes
  raptor destroy --all --dry-run")]
pub struct DestroyArguments {
    /// Names, ids or unique beginnings of ids
    #[arg(value_name = "NODE", required_unless_present = "all", conflicts_with = "all")]
    pub nodes: Vec<String>,

    /// Every machine of the cluster
    #[arg(long)]
    pub all: bool,
}

/// Destroys, after the plan was shown and confirmed.
///
/// # Errors
/// Declined, or nothing could be begun.
pub async fn run(
    invocation: &Invocation,
    arguments: DestroyArguments,
    interrupt: Interrupt,
) -> Result<ExitStatus, CliError> {
    let request = DestroyRequest { all: arguments.all, nodes: arguments.nodes };
    match perform::run(invocation, &Request::Destroy(request), interrupt).await? {
        Done::Nothing => Ok(ExitStatus::DONE),
        Done::Performed(done) => perform::report(invocation, &done.outcomes),
    }
}
