//! `raptor evict`

use clap::Args;
use serde_json::json;

use crate::cli::confirm::confirm;
use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::print_json;

/// Take a member out of the cluster
///
/// Its key is removed from the document, so no member speaks to it any more. The machine itself
/// stays: `raptor destroy` gives it back.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor evict web-1
  raptor evict 7fqk2 --yes")]
pub struct EvictArguments {
    /// Name, id or unique beginning of an id
    pub node: String,
}

/// Evicts, after a question.
///
/// # Errors
/// Declined, no agent answers, or no member is meant.
pub async fn run(
    invocation: &Invocation,
    arguments: EvictArguments,
) -> Result<ExitStatus, CliError> {
    let node = arguments.node;
    let connection = connection::open(invocation).await?;
    // Asked before the question: a misspelt name is no reason to bother anybody.
    let _ = connection.client.ssh_info(&node).await?;
    if invocation.dry_run {
        let cluster = &connection.status.cluster;
        let text = format!("evict {node} from {cluster}\n");
        invocation.print_plan(&text, &json!({ "evict": node, "cluster": cluster }))?;
        return Ok(ExitStatus::DONE);
    }
    confirm(invocation, &format!("evict {node} from {}", connection.status.cluster)).await?;
    connection.client.evict(&node).await?;
    if invocation.format.is_json() {
        print_json(&json!({ "evicted": node }))?;
    } else {
        invocation.note(&format!("{node} is no member any more"));
    }
    Ok(ExitStatus::DONE)
}
