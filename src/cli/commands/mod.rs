//! One file a command. What runs before any of them: options, logging, configuration, Ctrl-C.

use crate::cli::arguments::Arguments;
use crate::cli::arguments::Command;
use crate::cli::configuration;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::interrupt::Interrupt;
use crate::cli::interrupt::InterruptSender;
use crate::cli::interrupt::interrupt;
use crate::cli::invocation::Invocation;

pub mod agent;
pub mod artefact;
pub mod backup;
pub mod clean;
pub mod completion;
pub mod compute;
pub mod config;
pub mod connect_stream;
pub mod context;
pub mod destroy;
pub mod evict;
pub mod exec;
pub mod forward;
pub mod hook;
pub mod install;
pub mod join;
pub mod members;
pub mod mesh;
pub mod package;
pub mod ping;
pub mod plan;
pub mod provider;
pub mod proxy;
pub mod prune;
pub mod restore;
pub mod rule;
pub mod scale;
pub mod secret;
pub mod slave;
pub mod spawn;
pub mod ssh;
pub mod status;
pub mod ticket;
pub mod trace;
pub mod version;

/// Runs a command to its end.
///
/// # Errors
/// What the command says; printed by the caller.
pub fn run(arguments: Arguments) -> Result<ExitStatus, CliError> {
    // These two touch nothing, so they need neither home nor runtime.
    match &arguments.command {
        Command::Version(_) => return version::run(arguments.global.format()),
        Command::Completion(completion) => return completion::run(completion),
        _ => {}
    }
    let asks_sudo_password = arguments.global.ask_sudo_pass && !arguments.global.dry_run;
    let mut invocation = Invocation::new(arguments.global)?;
    start_logging(&invocation, arguments.command.is_service());
    if arguments.command.needs_configuration() {
        configuration::load(&invocation, None)?;
    }
    if asks_sudo_password {
        invocation.ask_sudo_password()?;
    }
    // The agent's work is one task's: handing packets from thread to thread would only wake more.
    let mut builder = match arguments.command {
        Command::Agent(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::bug(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(run_until_interrupted(&invocation, arguments.command));
    // A read of the terminal that still waits must not hold the program back.
    runtime.shutdown_background();
    result
}

async fn run_until_interrupted(
    invocation: &Invocation,
    command: Command,
) -> Result<ExitStatus, CliError> {
    let (sender, interrupt) = interrupt();
    let cooperative = command.handles_interrupt();
    tokio::select! {
        result = dispatch(invocation, command, interrupt) => result,
        error = watch_interrupt(sender, cooperative) => Err(error),
    }
}

/// The first Ctrl-C is told to a command that cleans up by itself; any other ends the program.
async fn watch_interrupt(sender: InterruptSender, cooperative: bool) -> CliError {
    for told in [cooperative, false] {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "Ctrl-C cannot be heard");
            std::future::pending::<()>().await;
        }
        if !told {
            break;
        }
        sender.raise();
    }
    CliError::interrupted()
}

async fn dispatch(
    invocation: &Invocation,
    command: Command,
    interrupt: Interrupt,
) -> Result<ExitStatus, CliError> {
    match command {
        Command::Spawn(arguments) => spawn::run(invocation, arguments, interrupt).await,
        Command::Slave(arguments) => slave::run(invocation, arguments, interrupt).await,
        Command::Join(arguments) => join::run(invocation, arguments, interrupt).await,
        Command::Ticket(command) => ticket::run(invocation, command).await,
        Command::Members(arguments) => members::run(invocation, &arguments).await,
        Command::Mesh(arguments) => mesh::run(invocation, &arguments).await,
        Command::Ping(arguments) => ping::run(invocation, arguments, interrupt).await,
        Command::Trace(arguments) => trace::run(invocation, &arguments).await,
        Command::Status(_) => status::run(invocation).await,
        Command::Ssh(arguments) => ssh::run(invocation, arguments).await,
        Command::Exec(arguments) => exec::run(invocation, arguments).await,
        Command::Forward(arguments) => forward::run(invocation, arguments).await,
        Command::Proxy(arguments) => proxy::run(invocation, arguments).await,
        Command::Evict(arguments) => evict::run(invocation, arguments).await,
        Command::Destroy(arguments) => destroy::run(invocation, arguments, interrupt).await,
        Command::Prune(_) => prune::run(invocation, interrupt).await,
        Command::Clean(_) => clean::run(invocation).await,
        Command::Compute(command) => compute::run(invocation, command).await,
        Command::Provider(command) => provider::run(invocation, command).await,
        Command::Plan(_) => plan::run(invocation).await,
        Command::Scale(arguments) => scale::run(invocation, arguments).await,
        Command::Hook(arguments) => hook::run(invocation, &arguments).await,
        Command::Rule(command) => rule::run(invocation, command).await,
        Command::Package(arguments) => package::run(invocation, arguments, interrupt).await,
        Command::Artefact(command) => artefact::run(invocation, command).await,
        Command::Install(arguments) => install::run(invocation, arguments).await,
        Command::Backup(arguments) => backup::run(invocation, arguments).await,
        Command::Restore(arguments) => {
            Box::pin(restore::run(invocation, arguments, interrupt)).await
        }
        Command::Secret(command) => secret::run(invocation, command).await,
        Command::Config(command) => config::run(invocation, command).await,
        Command::Context(command) => context::run(invocation, command),
        Command::Agent(command) => Box::pin(agent::run(invocation, command)).await,
        Command::ConnectStream(arguments) => connect_stream::run(invocation, arguments).await,
        Command::Completion(arguments) => completion::run(&arguments),
        Command::Version(_) => version::run(invocation.format),
    }
}

/// Logs go to standard error. `RAPTOR_LOG` chooses more finely than `-v` can. A service, whose log
/// is all that is seen of it, begins one step higher. quinn's endpoint has one thing to say, and
/// calls it an error: that its socket, the mesh, has ended with the agent.
fn start_logging(invocation: &Invocation, is_service: bool) {
    let level = match invocation.verbosity.saturating_add(u8::from(is_service)) {
        0 => "warn,quinn::endpoint=off",
        1 => "raptor=info,warn,quinn::endpoint=off",
        2 => "raptor=debug,info,quinn::endpoint=off",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("RAPTOR_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    // A second start in one process, as in tests, keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}
