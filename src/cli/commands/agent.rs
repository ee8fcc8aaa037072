//! `raptor agent`: the program that runs on every machine.

use std::io::Read;
use std::time::Duration;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::agent::initialise;
use crate::agent::metrics;
use crate::cli::agent_process;
use crate::cli::commands::connect_stream::join_stdio;
use crate::cli::commands::status;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::compute::local::supervisor;
use crate::compute::local::supervisor::SupervisorRecord;
use crate::config::home::Home;
use crate::http::client::ApiClient;
use crate::http::client::ClientError;
use crate::http::socket_path::SocketPath;

/// Longest JSON that `init` and `adopt` read, in bytes.
const INPUT_LENGTH_MAX: u64 = 1024 * 1024;

/// How long an agent may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// How often an ending agent is looked at.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// The agent of this machine
#[derive(Debug, Subcommand)]
#[command(after_long_help = "Examples:
  raptor agent status
  raptor agent supervise
  raptor agent stop --leave")]
pub enum AgentCommand {
    /// Make the identity of this machine; JSON on standard input, JSON on standard output
    #[command(hide = true)]
    Init,
    /// Learn the cluster to enter; JSON on standard input
    #[command(hide = true)]
    Adopt(AdoptArguments),
    /// Run the agent in the foreground
    #[command(after_long_help = "Examples:
  raptor agent run -v")]
    Run,
    /// Run the agent, and again whenever it ends
    #[command(after_long_help = "Examples:
  raptor agent supervise")]
    Supervise,
    /// Ask the agent of this home how it is; 0 when it answers
    #[command(after_long_help = "Examples:
  raptor agent status
  raptor agent status -o json")]
    Status,
    /// Print the agent's numbers as Prometheus reads them
    #[command(after_long_help = "Examples:
  raptor agent metrics")]
    Metrics,
    /// End the agent of this home
    #[command(after_long_help = "Examples:
  raptor agent stop
  raptor agent stop --leave")]
    Stop(StopArguments),
    /// Join standard input and output to the agent's socket
    #[command(hide = true)]
    Connect,
}

/// How to enter.
#[derive(Debug, Args)]
pub struct AdoptArguments {
    /// Forget another cluster that this machine belongs to
    #[arg(long)]
    pub force: bool,
}

/// How to end it.
#[derive(Debug, Args)]
pub struct StopArguments {
    /// Say goodbye to the other members first
    #[arg(long)]
    pub leave: bool,
}

/// Runs one of the commands.
///
/// # Errors
/// As the agent says.
pub async fn run(invocation: &Invocation, command: AgentCommand) -> Result<ExitStatus, CliError> {
    if let Some(plan) = change(&command).filter(|_| invocation.dry_run) {
        let home = invocation.home.display();
        let told = serde_json::json!({"plan": plan, "home": invocation.home});
        invocation.print_plan(&format!("{plan} of {home}\n"), &told)?;
        return Ok(ExitStatus::DONE);
    }
    match command {
        AgentCommand::Init => {
            let reply = initialise::initialise(&Home::new(&invocation.home), &read_input()?);
            print_json(&reply.map_err(|error| CliError::caused(Kind::User, &error))?)?;
        }
        AgentCommand::Adopt(arguments) => {
            let home = Home::new(&invocation.home);
            let bootstrap = read_input()?;
            let reply = initialise::adopt(&home, &bootstrap, arguments.force);
            let reply = reply.map_err(|error| CliError::caused(Kind::User, &error))?;
            // One that runs has read its file already.
            match client(invocation)?.introduce(&bootstrap).await {
                Ok(()) | Err(ClientError::Unreachable { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            print_json(&reply)?;
        }
        AgentCommand::Run => return Box::pin(agent_process::run(invocation)).await,
        AgentCommand::Supervise => return agent_process::supervise(invocation).await,
        AgentCommand::Status => {
            let answer = client(invocation)?.status().await.map_err(|error| {
                CliError::from(error).with_hint("`raptor agent supervise` starts it")
            })?;
            if invocation.format.is_json() {
                print_json(&answer)?;
            } else {
                print(&status::text(&answer, SystemTime::now().into(), true))?;
            }
        }
        AgentCommand::Metrics => {
            let families = client(invocation)?.metrics().await?;
            if invocation.format.is_json() {
                print_json(&families)?;
            } else {
                print(&metrics::render(&families))?;
            }
        }
        AgentCommand::Stop(arguments) => {
            stop(&Home::new(&invocation.home), arguments.leave).await?;
        }
        AgentCommand::Connect => {
            let path = invocation.agent_socket();
            let failed = |error| CliError::file("reach", &path, &error);
            let short = SocketPath::new(&path).map_err(failed)?;
            join_stdio(UnixStream::connect(short.as_path()).await.map_err(failed)?).await?;
        }
    }
    Ok(ExitStatus::DONE)
}

/// What a command changes, if it does, as `--dry-run` tells it.
fn change(command: &AgentCommand) -> Option<&'static str> {
    match command {
        AgentCommand::Init => Some("make the identity"),
        AgentCommand::Adopt(_) => Some("write down the cluster"),
        AgentCommand::Run => Some("run the agent"),
        AgentCommand::Supervise => Some("run the agent, and again whenever it ends,"),
        AgentCommand::Stop(StopArguments { leave: true }) => {
            Some("say goodbye to the members and end the agent")
        }
        AgentCommand::Stop(_) => Some("end the agent"),
        AgentCommand::Status | AgentCommand::Metrics | AgentCommand::Connect => None,
    }
}

fn client(invocation: &Invocation) -> Result<ApiClient, CliError> {
    Ok(ApiClient::new(&invocation.agent_socket())?)
}

fn read_input<T: DeserializeOwned>() -> Result<T, CliError> {
    let mut text = String::new();
    let mut input = std::io::stdin().lock().take(INPUT_LENGTH_MAX);
    input
        .read_to_string(&mut text)
        .map_err(|error| CliError::usage(format!("cannot read standard input: {error}")))?;
    serde_json::from_str(&text).map_err(|error| {
        CliError::usage(format!("standard input is not what it should be: {error}"))
    })
}

/// Asks the agent of a home to end, and waits until it and its supervisor have. One that does not run
/// is no error; one that is only starting, or that its supervisor is about to start again, is ended.
///
/// # Errors
/// It refuses, or has not ended after [`STOP_TIMEOUT`].
pub async fn stop(home: &Home, leave: bool) -> Result<(), CliError> {
    let client = ApiClient::new(&home.socket_file())?;
    let supervisor = SupervisorRecord::read(home.root());
    match client.stop(leave).await {
        Ok(()) | Err(ClientError::BrokenOff { .. }) => {}
        Err(ClientError::Unreachable { .. }) => {
            let stopped = supervisor::stop(home.root(), STOP_TIMEOUT).await;
            return stopped.map_err(|error| CliError::caused(Kind::User, &error));
        }
        Err(error) => return Err(error.into()),
    }
    let is_silent = async || matches!(client.status().await, Err(ClientError::Unreachable { .. }));
    let gone = async {
        while supervisor.is_some_and(|it| it.is_alive(home.root())) || !is_silent().await {
            tokio::time::sleep(STOP_INTERVAL).await;
        }
    };
    tokio::time::timeout(STOP_TIMEOUT, gone).await.map_err(|_| {
        let seconds = STOP_TIMEOUT.as_secs();
        CliError::remote(format!("the agent has not ended {seconds} s after it was asked to"))
    })
}
