//! `join`: this machine becomes a member of a cluster that exists.

use std::net::SocketAddr;

use zeroize::Zeroizing;

use crate::agent::api::Bootstrap;
use crate::agent::api::NewTicket;
use crate::agent::clock::wall_clock;
use crate::agent::enter;
use crate::agent::enter::EnterError;
use crate::agent::error::chain;
use crate::agent::initialise;
use crate::agent::initialise::HomeError;
use crate::agent::machine_file::Description;
use crate::agent::machine_file::InitRequest;
use crate::agent::perform::door::Doors;
use crate::agent::perform::door::Way;
use crate::agent::perform::local;
use crate::agent::perform::seen;
use crate::agent::perform::settings::Performer;
use crate::agent::ticket::Ticket;
use crate::agent::ticket::TicketError;
use crate::cli::bridge;
use crate::cli::doors::ApiDoors;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::hands::failure;
use crate::cli::hands::own_machine;
use crate::cli::invocation::Invocation;
use crate::cli::perform::JoinRequest;
use crate::cli::perform::Outcome;
use crate::config::home::Home;
use crate::http::client::ApiClient;
use crate::mesh::socket::MeshSocket;
use crate::model::action::Action;
use crate::model::action::Plan;
use crate::model::cluster::ClusterId;
use crate::model::destination::Destination;
use crate::model::label::Labels;
use crate::model::machine::IntentId;
use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::reconcile::world::ADOPTED;
use crate::ssh::error::HostError;
use crate::ssh::host::Command;

/// Longest answer to `ticket create` that is read.
const TICKET_ANSWER_MAX: usize = 64 * 1024;

/// What `join` does, for `--dry-run`.
pub async fn plan(invocation: &Invocation, door: &JoinRequest) -> Plan {
    let mut plan = Plan::default();
    let elsewhere = match door {
        JoinRequest::Ticket(text) => text.parse().ok().map(|it: Ticket| it.genesis.cluster_id()),
        JoinRequest::Host(_) => None,
    };
    if let Some((id, cluster)) = membership(&Home::new(&invocation.home)).await
        && elsewhere.is_none_or(|elsewhere| elsewhere == id)
    {
        invocation.note(&format!("this machine is a member of the cluster {cluster} already"));
        return plan;
    }
    let action = Action::Slave {
        intent: IntentId::from_bytes([0; 10]),
        name: Some(own_name()),
        destination: None,
        via: None,
        server_type: String::new(),
        labels: Labels::new(),
        provision: false,
        join: true,
    };
    plan.push(action, "this machine was asked to join");
    plan
}

fn own_name() -> Name {
    let hostname = rustix::system::uname();
    Name::from_hostname(&hostname.nodename().to_string_lossy())
}

/// Joins, starts the agent, and waits until it answers.
///
/// # Errors
/// The ticket is of no use, nobody lets this machine in, or the agent does not start.
pub async fn join(
    invocation: &Invocation,
    door: &JoinRequest,
    performer: &Performer,
) -> Result<Vec<Outcome>, CliError> {
    let name = own_name();
    let progress = performer.progress();
    let ticket = match door {
        JoinRequest::Ticket(text) => text.clone(),
        JoinRequest::Host(destination) => {
            progress.stage(name.as_str(), &format!("asking {destination} for a ticket"));
            ask_for_ticket(invocation, destination).await?
        }
    };
    let void = |error: TicketError| {
        CliError::caused(Kind::User, &error).with_hint("a member makes one: `raptor ticket create`")
    };
    let ticket: Ticket = ticket.parse().map_err(void)?;
    ticket.check_time(wall_clock()).map_err(void)?;
    check_home(performer.home(), &ticket)?;
    let entered = if own_machine::is_own(performer.home()) {
        own_machine::take_over(performer, ticket, &name, progress).await
    } else {
        enter(performer, ticket, &name).await
    };
    let name = entered.inspect_err(|_| progress.failed(name.as_str(), "not joined"))?;
    progress.done(name.as_str(), "joined");
    Ok(vec![Outcome {
        machine: name.to_string(),
        step: "joined".to_owned(),
        error: None,
        hint: None,
        details: Vec::new(),
    }])
}

/// The cluster that this machine belongs to, where it does and its agent answers.
async fn membership(home: &Home) -> Option<(ClusterId, Name)> {
    initialise::load(home).ok()?.1.genesis?;
    let status = ApiClient::new(&home.socket_file()).ok()?.status().await.ok()?;
    Some((status.cluster_id, status.cluster))
}

/// Refuses a home whose machine belongs to another cluster.
fn check_home(home: &Home, ticket: &Ticket) -> Result<(), CliError> {
    let file = match initialise::load(home) {
        Err(HomeError::NotInitialised { .. }) => return Ok(()),
        loaded => loaded.map_err(|error| home_error(&error))?.1,
    };
    match file.genesis.filter(|genesis| *genesis != ticket.genesis) {
        None => Ok(()),
        Some(genesis) => {
            let text = format!("this machine belongs to cluster {} already", genesis.name);
            Err(CliError::user(text).with_hint("`raptor clean` takes it out of there"))
        }
    }
}

/// Enters without changing the machine itself: the agent runs as this user, from this home.
async fn enter(performer: &Performer, ticket: Ticket, name: &Name) -> Result<Name, CliError> {
    let (home, config) = (performer.home(), performer.config());
    let progress = performer.progress();
    check_listen(config.mesh.listen)?;
    progress.stage(name.as_str(), "giving this machine a key");
    let request = InitRequest {
        description: Description {
            name: name.clone(),
            compute_type: ADOPTED.to_owned(),
            server_type: config.default_server_type.clone(),
            labels: Labels::new(),
            listen: Some(config.mesh.listen),
            ssh_port: None,
            ssh_user: None,
        },
        force: false,
        challenge: None,
        found: None,
    };
    initialise::initialise(home, &request).map_err(|error| home_error(&error))?;
    let (key, _) = initialise::load(home).map_err(|error| home_error(&error))?;
    progress.stage(name.as_str(), "knocking");
    let entered = enter::enter(ticket, &key, name.clone()).await;
    let bootstrap = entered.map_err(|error| refused(&error))?;
    start(home, &bootstrap, progress.as_ref()).await?;
    Ok(bootstrap.name)
}

async fn start(
    home: &Home,
    bootstrap: &Bootstrap,
    progress: &dyn Progress,
) -> Result<(), CliError> {
    progress.stage(bootstrap.name.as_str(), "starting the agent");
    initialise::adopt(home, bootstrap, false).map_err(|error| home_error(&error))?;
    let started = local::start(home).map_err(|error| CliError::caused(Kind::User, &error));
    wait_until_inside(home, &bootstrap.name, started?, progress).await
}

/// Waits until the agent of `home`, whose words begin at `log_start` of its log, has the cluster's
/// document and sees whoever let it in.
///
/// # Errors
/// It does not answer, or reaches nobody.
pub async fn wait_until_inside(
    home: &Home,
    name: &Name,
    log_start: u64,
    progress: &dyn Progress,
) -> Result<(), CliError> {
    let way = Way::Local { home: home.clone(), log_start };
    let opened = ApiDoors.open(way).await;
    let door = opened.map_err(|error| {
        let log = home.log_file();
        CliError::remote(format!("the agent does not answer: {}", chain(&error)))
            .with_hint(format!("its log is {}", log.display()))
    })?;
    progress.stage(name.as_str(), "waiting for the cluster's document");
    let (key, file) = initialise::load(home).map_err(|error| home_error(&error))?;
    let introducer = file.peers.first().map(|peer| peer.id);
    for node in introducer.into_iter().chain([key.node_id()]) {
        seen::wait_until_seen(door.as_ref(), node).await.map_err(failure)?;
    }
    Ok(())
}

/// Refuses a busy port before the ticket is used up.
fn check_listen(listen: SocketAddr) -> Result<(), CliError> {
    MeshSocket::bind(Some(listen)).map(drop).map_err(|error| {
        CliError::caused(Kind::User, &error).with_hint(
            "choose another with mesh.listen in mutable_config.json; port 0 takes any free one",
        )
    })
}

fn refused(error: &EnterError) -> CliError {
    let told = CliError::caused(Kind::Remote, error);
    match error {
        EnterError::Refused { .. } => {
            told.with_hint("a member makes another ticket: `raptor ticket create`")
        }
        EnterError::NoAnswer { .. } => told.with_hint(
            "is that member up, and does UDP reach it? any other member makes a ticket, too",
        ),
        _ => told,
    }
}

fn home_error(error: &HomeError) -> CliError {
    let told = CliError::caused(Kind::User, error);
    match error {
        HomeError::Lock(_) => told.with_hint("this machine's agent runs already: `raptor status`"),
        HomeError::OtherCluster { .. } => told.with_hint("`raptor clean` takes it out of there"),
        _ => told,
    }
}

/// Has a member make an invitation for this machine.
async fn ask_for_ticket(
    invocation: &Invocation,
    destination: &Destination,
) -> Result<Zeroizing<String>, CliError> {
    let failed = |why: String| {
        CliError::remote(format!("{destination}: {why}"))
            .with_hint("is it a member? `raptor --connect HOST members` asks it")
    };
    let (host, sudo) =
        bridge::host(invocation, &destination.clone().into()).await.map_err(failed)?;
    let words = [
        "raptor",
        "--home",
        bridge::REMOTE_HOME,
        "-o",
        "json",
        "ticket",
        "create",
        "--uses",
        "1",
        "--ttl",
        "10m",
    ];
    let mut command = Command::new(words);
    command.sudo = sudo;
    let told = |error: HostError| failed(format!("{}: {}", error.step, chain(&error.cause)));
    let output = host.run(command).await.map_err(told)?;
    let answer = &output.stdout[..output.stdout.len().min(TICKET_ANSWER_MAX)];
    if output.status != 0 {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(format!("`raptor ticket create` failed: {why}")));
    }
    let made: NewTicket = serde_json::from_slice(answer)
        .map_err(|error| failed(format!("its answer cannot be understood: {error}")))?;
    Ok(Zeroizing::new(made.ticket))
}
