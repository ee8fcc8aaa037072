//! `raptor scale`: the rule that most fleets need.

use clap::Args;
use serde_json::json;

use crate::cli::commands::config::Sources;
use crate::cli::commands::config::write;
use crate::cli::commands::rule::path;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::config::change::Change;
use crate::model::name::Name;
use crate::model::rule::DEFAULT_RULE;

/// Say how many members there must be; the members see to it
///
/// Writes the rule `default`: as many as fewest and as most. More are made, the youngest of a
/// surplus are given back, and the dead are replaced, by whichever members live.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor scale 5
  raptor scale 3 --rule builders
  raptor plan                         what they will do about it")]
pub struct ScaleArguments {
    /// How many
    pub count: u32,

    /// The rule to change [default: default]
    #[arg(long, value_name = "NAME")]
    pub rule: Option<Name>,
}

/// Writes the rule.
///
/// # Errors
/// No agent answers, or the fleet may not have as many.
pub async fn run(
    invocation: &Invocation,
    arguments: ScaleArguments,
) -> Result<ExitStatus, CliError> {
    // Without a cluster nobody would see to it.
    let sources = Sources::of_cluster(invocation).await?;
    let name = arguments.rule.unwrap_or_else(|| Name::from_hostname(DEFAULT_RULE));
    let bounds = ["min", "max"]
        .map(|key| Change::Set { path: path(&name).join(key), value: json!(arguments.count) });
    let note = format!("scale {name} to {}", arguments.count);
    write::with(invocation, sources, bounds.into(), Some(note)).await?;
    Ok(ExitStatus::DONE)
}
