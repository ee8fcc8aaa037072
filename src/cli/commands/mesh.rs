//! `raptor mesh`

use std::time::SystemTime;

use clap::Args;

use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::Format;
use crate::cli::output::mesh;
use crate::cli::output::print;
use crate::cli::output::print_json;

/// Show links and routes: how members reach each other, and why that way
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor mesh                    as the agent here sees it
  raptor mesh --node web-1       as web-1 sees it
  raptor mesh -o wide            with bytes, packets and costs
  raptor mesh -o json")]
pub struct MeshArguments {
    /// Show the mesh as this member sees it
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
}

/// Prints the mesh.
///
/// # Errors
/// No agent answers, or the member is unknown or out of reach.
pub async fn run(
    invocation: &Invocation,
    arguments: &MeshArguments,
) -> Result<ExitStatus, CliError> {
    let connection = connection::open(invocation).await?;
    let view = connection.client.mesh(arguments.node.as_deref()).await?;
    match invocation.format {
        Format::Json => print_json(&view)?,
        format => print(&mesh::text(&view, format == Format::Wide, SystemTime::now().into()))?,
    }
    Ok(ExitStatus::DONE)
}
