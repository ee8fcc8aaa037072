//! `raptor spawn`

use std::time::Duration;

use clap::Args;

use crate::cli::commands::compute;
use crate::cli::commands::members;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::outfit::OutfitArguments;
use crate::cli::output::duration;
use crate::cli::perform;
use crate::cli::perform::Done;
use crate::cli::perform::Request;
use crate::cli::perform::SpawnRequest;
use crate::model::name::Name;

/// Boot machines on a back-end and make them members
///
/// A first machine founds the cluster. The back-end `local` needs neither root nor network: each
/// machine is an agent of its own on this computer.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor spawn --count 3
  raptor spawn --compute-type docker --count 2 --label zone=home
  raptor spawn --name web-1
  raptor spawn --count 3 --ttl 2h        a cluster for one test run
  raptor spawn --count 5 --dry-run")]
pub struct SpawnArguments {
    /// The back-end [default: default_compute_type of the configuration]
    #[arg(long, value_name = "T")]
    pub compute_type: Option<String>,

    /// How many
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub count: u32,

    /// The name of the machine
    #[arg(long, conflicts_with = "count")]
    pub name: Option<Name>,

    /// What they will be.
    #[command(flatten)]
    pub outfit: OutfitArguments,

    /// How long they live; the members announce the end ten minutes before (fleet.ttl_warning_ms), and
    /// destroy them then
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub ttl: Option<Duration>,

    /// Only say whether the back-end could boot machines
    #[arg(long)]
    pub check_available: bool,
}

impl From<SpawnArguments> for SpawnRequest {
    fn from(arguments: SpawnArguments) -> Self {
        Self {
            compute_type: arguments.compute_type,
            labels: arguments.outfit.labels(),
            server_type: arguments.outfit.server_type,
            count: arguments.count,
            name: arguments.name,
            ttl: arguments.ttl,
            provision: !arguments.outfit.no_provision,
            join: !arguments.outfit.no_join,
        }
    }
}

/// Spawns, then shows the members and what to try next.
///
/// # Errors
/// Nothing could be begun.
pub async fn run(
    invocation: &Invocation,
    arguments: SpawnArguments,
    interrupt: Interrupt,
) -> Result<ExitStatus, CliError> {
    if arguments.check_available {
        return compute::check(invocation, arguments.compute_type).await;
    }
    let request = SpawnRequest::from(arguments);
    let shows_members = request.join;
    match perform::run(invocation, &Request::Spawn(request), interrupt).await? {
        Done::Nothing => Ok(ExitStatus::DONE),
        Done::Performed(done) => {
            let status = perform::report(invocation, &done.outcomes)?;
            if shows_members {
                members::show_after_change(invocation, status, done.members).await?;
            }
            Ok(status)
        }
    }
}
