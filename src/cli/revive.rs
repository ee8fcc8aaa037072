//! Members whose agents are all down: those that are named again are started where they are.

use std::time::Duration;
use std::time::Instant;

use crate::cli::bridge;
use crate::cli::connection;
use crate::cli::connection::Connection;
use crate::cli::endpoint::Endpoint;
use crate::cli::endpoint::SshWay;
use crate::cli::error::CliError;
use crate::cli::invocation::Invocation;
use crate::cli::perform::SlaveRequest;
use crate::provision::layout::Layout;
use crate::provision::service::revival_script;
use crate::ssh::host::Script;

/// How long an agent that was started may take until it answers.
const REVIVAL_TIMEOUT: Duration = Duration::from_secs(20);

/// How often it is asked.
const REVIVAL_INTERVAL: Duration = Duration::from_millis(500);

/// Starts the agents of the machines that `request` names and that are known as members, and asks
/// again; the first failure stays when that does not help.
///
/// # Errors
/// `failure`.
pub async fn revive(
    invocation: &Invocation,
    request: &SlaveRequest,
    failure: CliError,
) -> Result<Option<Connection>, CliError> {
    let mut is_started = false;
    for way in ways(invocation, request)? {
        invocation.note(&format!("{}: no member answers; starting its agent", way.destination));
        match start(invocation, &way).await {
            Ok(()) => is_started = true,
            Err(why) => invocation.note(&format!("{}: {why}", way.destination)),
        }
    }
    let deadline = Instant::now() + REVIVAL_TIMEOUT;
    while is_started && Instant::now() < deadline {
        if let Ok(Some(connection)) = connection::open_if_known(invocation).await {
            return Ok(Some(connection));
        }
        tokio::time::sleep(REVIVAL_INTERVAL).await;
    }
    Err(failure)
}

/// The ways to machines of the cluster that are named again.
fn ways(invocation: &Invocation, request: &SlaveRequest) -> Result<Vec<SshWay>, CliError> {
    let contexts = connection::read_contexts(invocation)?;
    let name = invocation.cluster.clone().or_else(|| contexts.current.clone());
    let context = name.and_then(|name| contexts.contexts.get(&name).cloned());
    let known = context.into_iter().flat_map(|context| context.connections);
    let is_named =
        |way: &SshWay| request.targets.iter().any(|target| target.destination == way.destination);
    let ways = known.filter_map(|endpoint| match endpoint {
        Endpoint::Ssh(way) if is_named(&way) => Some(way),
        _ => None,
    });
    Ok(ways.collect())
}

async fn start(invocation: &Invocation, way: &SshWay) -> Result<(), String> {
    let (host, sudo) = bridge::host(invocation, way).await?;
    let mut script = Script::new("starting the agent", revival_script(&Layout::default()));
    script.sudo = sudo;
    let output = host.script(script).await;
    let output = output.map_err(|error| crate::agent::error::chain(&error.cause))?;
    match output.status {
        0 => Ok(()),
        _ => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
