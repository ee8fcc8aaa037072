//! The agent as a process: its configuration, its log, its API, its end.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use tokio::sync::oneshot;

use crate::agent::interface::InterfaceSettings;
use crate::agent::interface::Wish;
use crate::agent::lock::LockError;
use crate::agent::lock::StateLock;
use crate::agent::names::service::Leading;
use crate::agent::names::service::NameSettings;
use crate::agent::names::service::When;
use crate::agent::pin::Pin;
use crate::agent::start;
use crate::agent::start::AgentFailure;
use crate::agent::start::AgentSettings;
use crate::agent::supervise;
use crate::cli::configuration;
use crate::cli::doors::ApiDoors;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::compute::local::supervisor::SupervisorRecord;
use crate::config::home::Home;
use crate::config::layers::LayerName;
use crate::config::schema::Config;
use crate::config::schema::sections::DnsMode;
use crate::config::schema::sections::DnsResolver;
use crate::config::schema::sections::Engine;
use crate::config::schema::sections::InterfaceMode;
use crate::gossip::settings::GossipSettings;
use crate::http::client::ApiClient;
use crate::http::client::ClientError;
use crate::http::server;
use crate::mesh::plane::suite::Suites;
use crate::mesh::settings::MeshSettings;

/// How long answers on their way may take when the agent ends.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How long whoever has the home is waited for while no agent answers there.
const HOLDER_TIMEOUT: Duration = Duration::from_secs(60);

/// How often it is looked whether it is gone.
const HOLDER_INTERVAL: Duration = Duration::from_millis(20);

/// Runs the agent of this home until it is asked to end.
///
/// # Errors
/// It cannot start, or the cluster put the machine out.
pub async fn run(invocation: &Invocation) -> Result<ExitStatus, CliError> {
    let home = Home::new(&invocation.home);
    let (config, pin) = configuration(invocation, &home)?;
    let settings = settings(&config, pin);
    let start = async || start::start(home.clone(), settings.clone()).await;
    let holder = |failure: &AgentFailure| match failure {
        AgentFailure::Lock(error) => holder(error),
        _ => None,
    };
    let started = match Box::pin(in_turn(&home, start, holder)).await {
        Ok(started) => started,
        Err(failure) => return refuse(&failure),
    };
    let path = home.socket_file();
    let listener =
        server::listen(&home).map_err(|error| CliError::file("listen on", &path, &error))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let services = started.services.clone();
    let serving = tokio::spawn(server::serve(listener, services, async {
        // A sender that is gone means the same as one that spoke.
        let _ = stopped.await;
    }));
    tracing::info!(home = %home.root().display(), "the agent runs");
    let (lock, ended) = Box::pin(started.run(Some(Arc::new(ApiDoors)))).await;
    drop(stop);
    let _ = tokio::time::timeout(STOP_GRACE, serving).await;
    // A socket that stays behind is replaced at the next start, which waits for the lock: it is
    // never the next agent's socket that is removed here.
    let _ = std::fs::remove_file(&path);
    drop(lock);
    match ended {
        Ok(()) => {
            tracing::info!("the agent ends");
            Ok(ExitStatus::DONE)
        }
        Err(failure) => refuse(&failure),
    }
}

/// The configuration, with the document's layer as it stood when the agent ran last. A layer that
/// this build refuses is left out: an agent that runs can be given a better one.
fn configuration(invocation: &Invocation, home: &Home) -> Result<(Config, Pin), CliError> {
    let export = std::fs::read(home.export_file()).ok();
    let document = export.and_then(|text| serde_json::from_slice(&text).ok());
    let loaded = match configuration::loaded(invocation, document.as_ref()) {
        Err(error) if document.is_some() => {
            tracing::warn!(error = %error.render(false), "the document's configuration is left out");
            configuration::loaded(invocation, None)?
        }
        loaded => loaded?,
    };
    let pin = pin(&loaded.layers.value(LayerName::File));
    Ok((loaded.config, pin))
}

/// Which links this machine has: only its own file, which was found sound, can say it. In the
/// document it would hold for everybody, and nobody could be dialled.
fn pin(file: &Value) -> Pin {
    let value = |path| file.pointer(path).cloned().unwrap_or_default();
    Pin {
        reach: serde_json::from_value(value("/mesh/reach")).unwrap_or_default(),
        parent: value("/mesh/parent").as_str().and_then(|name| name.parse().ok()),
    }
}

/// Says why, and ends with the status that tells a supervisor whether to try again.
fn refuse(failure: &AgentFailure) -> Result<ExitStatus, CliError> {
    let error = CliError::caused(Kind::User, failure);
    match failure {
        AgentFailure::Lock(_) | AgentFailure::NoCluster | AgentFailure::Evicted(_) => {
            Err(error.with_exit_status(ExitStatus::NO_RESTART))
        }
        _ => Err(error),
    }
}

/// Runs the agent of this home, and again whenever it dies.
///
/// # Errors
/// The supervisor itself cannot work.
pub async fn supervise(invocation: &Invocation) -> Result<ExitStatus, CliError> {
    supervise::detach();
    let home = Home::new(&invocation.home);
    let lock_path = home.agent_folder().join("supervisor.lock");
    // A second supervisor must not put its own process into the record.
    let take = async || StateLock::acquire(&lock_path);
    let _lock = in_turn(&home, take, holder).await.map_err(|error| {
        CliError::caused(Kind::User, &error).with_exit_status(ExitStatus::NO_RESTART)
    })?;
    let record = SupervisorRecord::of_this_process()
        .ok_or_else(|| CliError::user("the system tells no start times of processes (/proc)"))?;
    record
        .write(home.root())
        .map_err(|error| CliError::file("write into", &home.agent_folder(), &error))?;
    let arguments = ["--home".to_owned(), home.root().display().to_string()];
    let arguments = [&arguments[..], &["agent".to_owned(), "run".to_owned()]].concat();
    let status = supervise::supervise(&arguments, &home.log_file())
        .await
        .map_err(|error| CliError::user(format!("cannot supervise the agent: {error}")))?;
    Ok(ExitStatus::of_program(status))
}

/// Who has the home, when that is why a start failed.
fn holder(error: &LockError) -> Option<String> {
    match error {
        LockError::Held { holder, .. } => Some(holder.clone()),
        LockError::Io { .. } => None,
    }
}

/// Does `start` again while somebody else has the home and no agent answers there: one that is still
/// starting is waited for until it is ready; one that ends, or that only writes into the home, until
/// it is gone.
async fn in_turn<T, E>(
    home: &Home,
    start: impl AsyncFn() -> Result<T, E>,
    holder: impl Fn(&E) -> Option<String>,
) -> Result<T, E> {
    let deadline = Instant::now() + HOLDER_TIMEOUT;
    let mut told = None;
    loop {
        let started = start().await;
        let Some(holder) = started.as_ref().err().and_then(&holder) else { return started };
        if Instant::now() > deadline || is_answered(home).await {
            return started;
        }
        if told.as_ref() != Some(&holder) {
            tracing::info!(holder, "somebody else has the home; waiting for the agent there");
            told = Some(holder);
        }
        tokio::time::sleep(HOLDER_INTERVAL).await;
    }
}

/// Whether an agent has opened the home's socket, even if it is slow to answer.
async fn is_answered(home: &Home) -> bool {
    match ApiClient::new(&home.socket_file()) {
        Ok(client) => !matches!(client.status().await, Err(ClientError::Unreachable { .. })),
        Err(_) => false,
    }
}

/// What suits the processor; `benches/overlay` compares the ciphers on one machine.
fn suites() -> Suites {
    match std::env::var_os("RAPTOR_BENCH_PORTABLE_CIPHER") {
        Some(_) => Suites::PORTABLE,
        None => Suites::of_processor(),
    }
}

fn settings(config: &Config, pin: Pin) -> AgentSettings {
    let millis = Duration::from_millis;
    AgentSettings {
        mesh: MeshSettings {
            rings: config.mesh.rings,
            ping_interval: millis(config.mesh.ping_interval_ms),
            link_timeout: millis(config.mesh.link_timeout_ms),
            suites: suites(),
            reach: pin.reach,
            ..MeshSettings::default()
        },
        gossip: GossipSettings {
            probe_period: millis(config.membership.probe_period_ms),
            probe_timeout: millis(config.membership.probe_timeout_ms),
            suspicion: millis(config.membership.suspicion_ms),
            ..GossipSettings::default()
        },
        interface: InterfaceSettings {
            name: config.mesh.interface.name.clone(),
            wish: match config.mesh.interface.enabled {
                _ if config.mesh.engine == Engine::External => Wish::External,
                InterfaceMode::Auto => Wish::Auto,
                InterfaceMode::On => Wish::On,
                InterfaceMode::Off => Wish::Off,
            },
        },
        names: NameSettings {
            when: match config.dns.enabled {
                DnsMode::Auto => When::Auto,
                DnsMode::On => When::On,
                DnsMode::Off => When::Off,
            },
            listen: config.dns.listen,
            resolver: match config.dns.resolver {
                DnsResolver::Auto => Leading::Auto,
                DnsResolver::Resolved => Leading::Resolved,
                DnsResolver::Off => Leading::Off,
            },
        },
        maps_port: config.mesh.port_mapping && config.mesh.engine == Engine::Raptor,
        network: (config.mesh.engine == Engine::External).then(|| config.mesh.network.clone()),
        pin,
    }
}
