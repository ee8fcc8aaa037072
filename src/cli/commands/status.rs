//! `raptor status`

use std::fmt::Write as _;
use std::time::SystemTime;

use clap::Args;

use crate::agent::api::AgentStatus;
use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::duration;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::table::Table;
use crate::cli::output::table::printable;
use crate::model::time::Timestamp;

/// Show what holds, what does not and why
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor status
  raptor status --connect root@10.0.0.7 -o json")]
pub struct StatusArguments {}

/// Prints the agent's own view.
///
/// # Errors
/// No agent answers.
pub async fn run(invocation: &Invocation) -> Result<ExitStatus, CliError> {
    let connection = connection::open(invocation).await?;
    let (status, plan) = (connection.status, connection.client.plan().await.ok());
    if invocation.format.is_json() {
        let mut told = serde_json::to_value(&status)
            .map_err(|error| CliError::bug(format!("the status has no JSON form: {error}")))?;
        told["fleet"] = serde_json::json!(plan);
        print_json(&told)?;
    } else {
        let plan = plan.unwrap_or_default();
        print(&text(&status, SystemTime::now().into(), plan.is_settled()))?;
        for line in plan.to_string().lines() {
            print(&format!("{}\n", printable(line)))?;
        }
    }
    Ok(ExitStatus::DONE)
}

/// The status for people; `is_settled` where nothing of the fleet speaks against all being well.
#[must_use]
pub fn text(status: &AgentStatus, now: Timestamp, is_settled: bool) -> String {
    let endpoints: Vec<String> = status.endpoints.iter().map(ToString::to_string).collect();
    let up = duration::show(now.since(status.started_at));
    let mut text = String::new();
    let rows = [
        ("cluster", format!("{} ({})", status.cluster, status.cluster_id)),
        ("node", format!("{} ({}, {})", status.name, status.node.short(), status.node.address())),
        ("agent", format!("raptor {}, process {}, up {up}", printable(&status.build), status.pid)),
        ("listens", endpoints.join(", ")),
        ("interface", printable(&status.interface)),
        ("names", printable(&status.names)),
        ("document", format!("{} updates", status.document_updates)),
    ];
    for (key, value) in rows {
        let _ = writeln!(text, "{key:9} {value}");
    }
    text.push('\n');
    if status.links.is_empty() {
        text.push_str("no links to other members\n");
    } else {
        text.push_str(&links(status));
    }
    text.push('\n');
    if status.problems.is_empty() && is_settled {
        text.push_str("all is well\n");
    }
    for problem in &status.problems {
        let _ = writeln!(text, "problem: {}", printable(problem));
    }
    text
}

fn links(status: &AgentStatus) -> String {
    let mut table = Table::new(["Link", "Endpoint", "RTT"]);
    for link in &status.links {
        table.push([
            link.name.as_ref().map_or_else(|| link.node.short(), ToString::to_string),
            link.endpoint.to_string(),
            link.rtt_ms.map(|rtt| format!("{rtt:.1} ms")).unwrap_or_default(),
        ]);
    }
    table.render()
}
