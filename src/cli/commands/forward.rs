//! `raptor forward`

use clap::Args;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::agent::view;
use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::tunnel::door;
use crate::cli::tunnel::door::Door;
use crate::cli::tunnel::spec::ForwardSpec;
use crate::http::client::ApiClient;

/// Reach TCP ports of members at ports of this computer
///
/// As `ssh -L`: each connection to the local port goes through the agents, whichever way the
/// members reach each other, and ends at the member's own port, on its loopback or its mesh
/// address. Neither root nor a network device is needed. Each line that is printed is a port
/// that is open. Runs until Ctrl-C.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor forward 8080:web-1:80                      http://127.0.0.1:8080 is port 80 of web-1
  raptor forward 5432:db-1:5432 6379:cache-1:6379   several at once
  raptor forward 0:web-1:80                         any free port; the line printed tells which
  raptor forward '*:8080:web-1:80'                  also for others who reach this computer")]
pub struct ForwardArguments {
    /// Where connections are taken [default: loopback], and the member and port they go to
    #[arg(required = true, value_name = "[LOCAL:]PORT:NODE:PORT")]
    pub forwards: Vec<ForwardSpec>,
}

/// Opens all ports, then carries connections until the program ends.
///
/// # Errors
/// No agent answers, a member is unknown, or a port cannot be had; nothing is open then.
pub async fn run(
    invocation: &Invocation,
    arguments: ForwardArguments,
) -> Result<ExitStatus, CliError> {
    let connection = connection::open(invocation).await?;
    let members = connection.client.members().await?;
    let mut wanted = Vec::new();
    for mut forward in arguments.forwards {
        let member = view::find(&members, &forward.node).map_err(|error| {
            CliError::user(error.to_string()).with_hint("`raptor members` lists what is there")
        })?;
        forward.node = member.name.to_string();
        wanted.push((member.id.to_string(), forward));
    }
    if invocation.dry_run {
        return wanted
            .iter()
            .try_for_each(|(_, forward)| tell(invocation, forward))
            .map(|()| ExitStatus::DONE);
    }
    let mut doors = Vec::new();
    for (node, mut forward) in wanted {
        let door = Door::open(invocation, forward.local).await?;
        forward.local = door.local;
        doors.push((door, node, forward));
    }
    let mut serving = JoinSet::new();
    for (door, node, forward) in doors {
        tell(invocation, &forward)?;
        let client = connection.client.clone();
        let port = forward.port;
        serving.spawn(door.serve(move |socket| carry(client.clone(), node.clone(), port, socket)));
    }
    serving.join_next().await;
    Err(CliError::bug("a door has closed by itself"))
}

fn tell(invocation: &Invocation, forward: &ForwardSpec) -> Result<(), CliError> {
    if invocation.format.is_json() {
        let ForwardSpec { local, node, port } = forward;
        return print(&format!("{}\n", json!({ "local": local, "node": node, "port": port })));
    }
    print(&format!("{forward}\n"))
}

async fn carry(client: ApiClient, node: String, port: u16, socket: TcpStream) {
    match door::reach(&client, &node, port).await {
        Ok(far) => door::join(socket, far).await,
        Err(error) => door::turn_away(&socket, &error),
    }
}
