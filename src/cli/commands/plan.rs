//! `raptor plan`

use clap::Args;

use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::table::printable;

/// Show what the members will do about the fleet, and why not more
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor plan
  raptor plan -o json")]
pub struct PlanArguments {}

/// Prints the plan of the agent that answers.
///
/// # Errors
/// No agent answers.
pub async fn run(invocation: &Invocation) -> Result<ExitStatus, CliError> {
    let plan = connection::open(invocation).await?.client.plan().await?;
    if invocation.format.is_json() {
        print_json(&plan)?;
        return Ok(ExitStatus::DONE);
    }
    let lines: Vec<String> = plan.to_string().lines().map(|line| printable(line) + "\n").collect();
    print(&lines.concat())?;
    // Why nothing is done is an answer, too.
    if plan.actions.is_empty() && plan.rules.is_empty() {
        print(
            "nothing is to be done: no rule says what must hold (`raptor scale 3` writes one)\n",
        )?;
    } else if plan.is_calm() {
        print("nothing is to be done\n")?;
    }
    Ok(ExitStatus::DONE)
}
