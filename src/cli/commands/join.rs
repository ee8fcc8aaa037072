//! `raptor join`

use clap::Args;
use zeroize::Zeroizing;

use crate::cli::commands::members;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::perform;
use crate::cli::perform::Done;
use crate::cli::perform::JoinRequest;
use crate::cli::perform::Request;
use crate::cli::terminal::password;

/// What every invitation begins with.
const TICKET_PREFIX: &str = "raptor1-";

/// Make this machine a member of another machine's cluster
///
/// Either through SSH to any member, or with an invitation that a member made with `raptor ticket
/// create`. An invitation is a secret: `-` reads it from the terminal or standard input, so that
/// it stands on no command line.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor join root@10.0.0.7
  raptor join - < ticket.txt")]
pub struct JoinArguments {
    /// [USER@]HOST[:PORT] of a member, a ticket, or `-` to read a ticket
    #[arg(value_name = "HOST|TICKET")]
    pub door: String,
}

/// Joins, then shows the members.
///
/// # Errors
/// The text is neither a host nor a ticket, or nothing could be begun.
pub async fn run(
    invocation: &Invocation,
    arguments: JoinArguments,
    interrupt: Interrupt,
) -> Result<ExitStatus, CliError> {
    let request = request(&Zeroizing::new(arguments.door))?;
    match perform::run(invocation, &Request::Join(request), interrupt).await? {
        Done::Nothing => Ok(ExitStatus::DONE),
        Done::Performed(done) => {
            let status = perform::report(invocation, &done.outcomes)?;
            members::show_after_change(invocation, status, done.members).await?;
            Ok(status)
        }
    }
}

fn request(door: &str) -> Result<JoinRequest, CliError> {
    if door == "-" {
        let ticket = password::ask("ticket: ")?;
        return if ticket.starts_with(TICKET_PREFIX) {
            Ok(JoinRequest::Ticket(ticket))
        } else {
            Err(CliError::usage("what was read is no ticket")
                .with_hint("a member makes one with `raptor ticket create`"))
        };
    }
    if door.starts_with(TICKET_PREFIX) {
        return Ok(JoinRequest::Ticket(Zeroizing::new(door.to_owned())));
    }
    door.parse().map(JoinRequest::Host).map_err(|error| CliError::usage(format!("{error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_told_from_a_host() {
        assert!(matches!(request("raptor1-abc"), Ok(JoinRequest::Ticket(_))));
        assert!(matches!(request("root@raptor-1:22"), Ok(JoinRequest::Host(_))));
        assert_eq!(request("a b").unwrap_err().exit_status(), ExitStatus::USAGE);
    }
}
