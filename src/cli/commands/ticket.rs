//! `raptor ticket`

use std::time::Duration;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::agent::api::TICKET_USES_MAX;
use crate::agent::api::TicketRequest;
use crate::agent::api::TicketRow;
use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::duration;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::table::Table;
use crate::model::time::Timestamp;

/// Invitations: signed, expiring, for machines that enter by themselves
#[derive(Debug, Subcommand)]
#[command(after_long_help = "Examples:
  raptor ticket create --ttl 10m > ticket.txt
  raptor ticket ls
  raptor ticket revoke 3fk2")]
pub enum TicketCommand {
    /// Make an invitation and print it; it is told only once
    #[command(after_long_help = "Examples:
  raptor ticket create > ticket.txt
  raptor ticket create --ttl 1h --uses 5 > ticket.txt")]
    Create(CreateArguments),
    /// Show the invitations that still hold
    #[command(after_long_help = "Examples:
  raptor ticket ls
  raptor ticket ls -o json")]
    Ls,
    /// Make an invitation void
    #[command(after_long_help = "Examples:
  raptor ticket revoke 3fk2")]
    Revoke {
        /// As `ticket ls` shows it
        id: String,
    },
}

/// An invitation to make.
#[derive(Debug, Args)]
pub struct CreateArguments {
    /// How long it holds: at most 7 days
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration::parse)]
    pub ttl: Duration,

    /// How many machines may enter with it
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(TICKET_USES_MAX))
    )]
    pub uses: u32,
}

/// Runs one of the commands.
///
/// # Errors
/// No agent answers, or it refuses.
pub async fn run(invocation: &Invocation, command: TicketCommand) -> Result<ExitStatus, CliError> {
    let connection = connection::open(invocation).await?;
    let client = &connection.client;
    match command {
        TicketCommand::Create(arguments) => {
            let ttl_ms = u64::try_from(arguments.ttl.as_millis())
                .map_err(|_| CliError::usage("--ttl is too long"))?;
            if invocation.dry_run {
                let (uses, ttl) = (arguments.uses, duration::show(arguments.ttl));
                let machines = if uses == 1 { "machine" } else { "machines" };
                invocation.print_plan(
                    &format!("create a ticket for {uses} {machines} that holds {ttl}\n"),
                    &json!({ "create_ticket": { "uses": uses, "ttl_ms": ttl_ms } }),
                )?;
                return Ok(ExitStatus::DONE);
            }
            let request = TicketRequest { ttl_ms, uses: arguments.uses };
            let ticket = client.create_ticket(&request).await?;
            if invocation.format.is_json() {
                print_json(&ticket)?;
            } else {
                invocation.note(&format!(
                    "ticket {} holds until {}; on the other machine: raptor join -",
                    ticket.id, ticket.expires_at
                ));
                print(&format!("{}\n", ticket.ticket))?;
            }
        }
        TicketCommand::Ls => {
            let tickets = client.tickets().await?;
            if invocation.format.is_json() {
                print_json(&tickets)?;
            } else {
                print(&table(&tickets, SystemTime::now().into()))?;
            }
        }
        TicketCommand::Revoke { id } => {
            if invocation.dry_run {
                invocation
                    .print_plan(&format!("revoke ticket {id}\n"), &json!({ "revoke": id }))?;
                return Ok(ExitStatus::DONE);
            }
            client.revoke_ticket(&id).await.map_err(|error| {
                CliError::from(error).with_hint("`raptor ticket ls` lists those that hold")
            })?;
            if invocation.format.is_json() {
                print_json(&json!({ "revoked": id }))?;
            } else {
                invocation.note(&format!("ticket {id} is void"));
            }
        }
    }
    Ok(ExitStatus::DONE)
}

fn table(tickets: &[TicketRow], now: Timestamp) -> String {
    let mut table = Table::new(["Id", "By", "Expires", "Uses"]);
    for ticket in tickets {
        let left = duration::show(ticket.expires_at.since(now));
        table.push([
            ticket.id.clone(),
            ticket.created_by.short(),
            format!("in {left}"),
            ticket.uses_left.to_string(),
        ]);
    }
    table.render()
}
