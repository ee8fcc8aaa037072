//! `raptor members`

use std::time::SystemTime;

use clap::Args;

use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::members::print_members;
use crate::model::member::Member;

/// Show who belongs to the cluster, and who answers
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor members
  raptor members -o wide      with back-end, path, round-trip time and age
  raptor members -o json
  raptor members --rejoin     look for those that went missing, at once")]
pub struct MembersArguments {
    /// Look for members that went missing, at once
    #[arg(long)]
    pub rejoin: bool,
}

/// Prints the members.
///
/// # Errors
/// No agent answers.
pub async fn run(
    invocation: &Invocation,
    arguments: &MembersArguments,
) -> Result<ExitStatus, CliError> {
    let connection = connection::open(invocation).await?;
    if arguments.rejoin && !invocation.dry_run {
        connection.client.rejoin().await?;
    }
    let members = connection.client.members().await?;
    print_members(invocation.format, members, SystemTime::now().into())?;
    Ok(ExitStatus::DONE)
}

/// After machines were added: the members and what to try next. JSON answers hold the outcomes
/// already, and a run that failed altogether has nothing to show. Without `members` they are asked.
///
/// # Errors
/// No agent answers.
pub async fn show_after_change(
    invocation: &Invocation,
    status: ExitStatus,
    members: Option<Vec<Member>>,
) -> Result<(), CliError> {
    if invocation.format.is_json()
        || [ExitStatus::FAILED, ExitStatus::INTERRUPTED].contains(&status)
    {
        return Ok(());
    }
    let members = match members {
        Some(members) => members,
        None => connection::open(invocation).await?.client.members().await?,
    };
    let example = members.first().map(|member| member.name.to_string()).unwrap_or_default();
    print_members(invocation.format, members, SystemTime::now().into())?;
    invocation.note(&format!(
        "\ntry next:\n  raptor exec -- uname -a\n  raptor ssh {example}\n  \
         raptor status\n  raptor destroy --all"
    ));
    Ok(())
}
