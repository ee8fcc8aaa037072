//! From a request to a plan, and from the plan to machines: the command line's side of the planner
//! and of the performer.

pub mod back_ends;
mod entering;
mod events;
mod giving_back;
pub(in crate::cli) mod known;
mod own_machine;
pub mod package;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::api::DocumentChange;
use crate::agent::api::WriteRequest;
use crate::agent::clock;
use crate::agent::clock::wall_clock;
use crate::agent::perform::build::Built;
use crate::agent::perform::door::Door;
use crate::agent::perform::door::DoorError;
use crate::agent::perform::founding::Founding;
use crate::agent::perform::job;
use crate::agent::perform::job::Failure;
use crate::agent::perform::job::machine_jobs;
use crate::agent::perform::settings::Parts;
use crate::agent::perform::settings::PerformSettings;
use crate::agent::perform::settings::Performer;
use crate::cli::connection;
use crate::cli::connection::Connection;
use crate::cli::contexts::Contexts;
use crate::cli::doors::ApiDoor;
use crate::cli::doors::ApiDoors;
use crate::cli::endpoint::Endpoint;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::hands::known::Known;
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::perform::DestroyRequest;
use crate::cli::perform::Outcome;
use crate::cli::perform::Performed;
use crate::cli::perform::Request;
use crate::cli::perform::SlaveRequest;
use crate::cli::perform::SpawnRequest;
use crate::cli::perform::UNDONE;
use crate::config::error::nearest;
use crate::config::home::Home;
use crate::model::action::Plan;
use crate::model::cluster::Genesis;
use crate::model::machine::IntentId;
use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::reconcile::destroy;
use crate::reconcile::prune;
use crate::reconcile::slave;
use crate::reconcile::spawn;

/// Most machines of one `spawn`.
const SPAWN_COUNT_MAX: usize = 1000;

/// A machine that never became a member counts as dead after this.
const BOOT_TIMEOUT: Duration = Duration::from_secs(600);

/// Machines that are given back at the same time.
const RETIRE_CONCURRENT: usize = 32;

/// This very program, also when its file has been replaced since it was started.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What would be done for `request`. Changes nothing.
///
/// # Errors
/// The cluster cannot be asked, or the request makes no sense in it.
pub async fn plan(invocation: &Invocation, request: &Request) -> Result<Plan, CliError> {
    if let Request::Join(door) = request {
        return Ok(entering::plan(invocation, door).await);
    }
    let known = Known::find(invocation, request).await?;
    if known.connection.is_none() && known.world.is_founded {
        invocation.note("no member answers; the machines are those that the back-ends list");
    }
    let unfulfilled = unfulfilled_wishes(invocation, &known, request)?;
    let drawn = std::iter::repeat_with(intent).map_while(Result::ok);
    let mut intents = unfulfilled.into_iter().chain(drawn);
    let cluster = known.cluster.clone();
    match request {
        Request::Spawn(request) => {
            let wanted = spawn_request(&known, request, cluster);
            check_known("compute type", &wanted.compute_type, known.config.compute_types.keys())?;
            check_known("server type", &wanted.server_type, known.config.server_types.keys())?;
            spawn::plan_spawn(&wanted, &known.world, &mut intents).map_err(|error| user(&error))
        }
        Request::Slave(request) => {
            let wanted = slave_request(&known, request, cluster);
            for name in request.targets.iter().filter_map(|target| target.server_type.as_ref()) {
                check_known("server type", name, known.config.server_types.keys())?;
            }
            slave::plan_slave(&wanted, &known.world, &mut intents).map_err(|error| user(&error))
        }
        Request::Destroy(DestroyRequest { all, nodes }) => {
            let wanted = if *all {
                destroy::DestroyRequest::All
            } else {
                destroy::DestroyRequest::Named(nodes.clone())
            };
            destroy::plan_destroy(&wanted, &known.world)
                .map_err(|error| user(&error).with_hint("`raptor members` lists what is there"))
        }
        Request::Prune => {
            let wanted = prune::PruneRequest { dead_for: BOOT_TIMEOUT, now: wall_clock() };
            Ok(prune::plan_prune(&wanted, &known.world))
        }
        Request::Join(door) => Ok(entering::plan(invocation, door).await),
    }
}

/// The wishes of a founding that was broken off: taken up again, they find what it made already.
fn unfulfilled_wishes(
    invocation: &Invocation,
    known: &Known,
    request: &Request,
) -> Result<Vec<IntentId>, CliError> {
    let Request::Spawn(request) = request else { return Ok(Vec::new()) };
    if known.connection.is_some() {
        return Ok(Vec::new());
    }
    let earlier = Founding::load(&Home::new(&invocation.home), &known.cluster);
    let earlier = earlier.map_err(|error| user(&error))?;
    let wanted = request.compute_type.as_ref().unwrap_or(&known.config.default_compute_type);
    let mut wishes: Vec<_> =
        earlier.map(|earlier| earlier.machines).unwrap_or_default().into_iter().collect();
    wishes.retain(|(_, record)| record.compute_type == *wanted);
    wishes.sort_by(|left, right| left.1.name.cmp(&right.1.name));
    Ok(wishes.into_iter().map(|(intent, _)| intent).collect())
}

/// Refuses a name that the configuration does not have before anything is begun.
fn check_known<'k>(
    noun: &str,
    name: &str,
    known: impl IntoIterator<Item = &'k String>,
) -> Result<(), CliError> {
    let known: Vec<&str> = known.into_iter().map(String::as_str).collect();
    if known.contains(&name) {
        return Ok(());
    }
    let hint = match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => format!("known are {}", known.join(", ")),
    };
    Err(CliError::user(format!("there is no {noun} {name:?}")).with_hint(hint))
}

fn user(error: &dyn std::error::Error) -> CliError {
    CliError::caused(Kind::User, error)
}

fn intent() -> Result<IntentId, clock::RandomError> {
    clock::random().map(IntentId::from_bytes)
}

fn spawn_request(known: &Known, request: &SpawnRequest, cluster: Name) -> spawn::SpawnRequest {
    let config = &known.config;
    let compute_type = request.compute_type.clone();
    let server_type = request.server_type.clone();
    spawn::SpawnRequest {
        compute_type: compute_type.unwrap_or_else(|| config.default_compute_type.clone()),
        server_type: server_type.unwrap_or_else(|| config.default_server_type.clone()),
        count: usize::try_from(request.count).unwrap_or(SPAWN_COUNT_MAX),
        count_max: SPAWN_COUNT_MAX,
        name: request.name.clone(),
        labels: request.labels.clone(),
        ttl_ms: request.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
        provision: request.provision,
        join: request.join,
        cluster,
    }
}

fn slave_request(known: &Known, request: &SlaveRequest, cluster: Name) -> slave::SlaveRequest {
    let targets = request.targets.iter().map(|target| slave::SlaveTarget {
        destination: target.destination.clone(),
        via: target.via.clone(),
        name: target.name.clone(),
        server_type: target.server_type.clone(),
        labels: target.labels.clone(),
    });
    slave::SlaveRequest {
        targets: targets.collect(),
        server_type: known.config.default_server_type.clone(),
        provision: request.provision,
        join: request.join,
        cluster,
    }
}

/// Performs `plan`. One outcome a machine.
///
/// # Errors
/// Nothing was begun.
pub async fn perform(
    invocation: &Invocation,
    request: &Request,
    plan: Plan,
    progress: Arc<dyn Progress>,
    interrupt: Interrupt,
) -> Result<Performed, CliError> {
    let known = match request {
        // The cluster to enter is not the one that this home knows.
        Request::Join(_) => Known::nothing(invocation)?,
        _ => Known::find(invocation, request).await?,
    };
    let settings = settings(invocation, &known, request);
    let performer = Performer::new(Parts {
        home: Home::new(&invocation.home),
        cluster: known.cluster.clone(),
        config: known.config.clone(),
        modules: known.modules.clone(),
        secrets: known.secrets(invocation)?,
        settings,
        doors: Arc::new(ApiDoors),
        progress,
        interrupt: interrupt.into_watch(),
    });
    if let Request::Join(door) = request {
        return entering::join(invocation, door, &performer).await.map(Performed::from);
    }
    let door = known.connection.as_ref().map(door);
    if matches!(request, Request::Destroy(_) | Request::Prune) {
        let Some(cluster_id) = known.cluster_id else {
            return Err(CliError::user("there is no cluster to take machines from"));
        };
        let (executor, door) = match known.spared(invocation, &plan).await {
            Some(spared) => (Some(spared.status.node), Some(self::door(&spared))),
            None => (known.world.executor, door),
        };
        if matches!(request, Request::Destroy(DestroyRequest { all: true, .. }))
            && !known.config.rules.is_empty()
            && let Some(door) = &door
        {
            pause(door.as_ref()).await?;
        }
        let machines = &known.world.machines;
        let mut outcomes = performer.retire(&plan, machines, cluster_id, executor, door).await;
        if matches!(request, Request::Destroy(_)) {
            giving_back::take_off(&performer, &plan, machines, &mut outcomes).await;
        }
        known.forget(invocation, &plan, &outcomes);
        return Ok(outcomes.into_iter().map(outcome).collect::<Vec<_>>().into());
    }
    let jobs = machine_jobs(&plan, &known.world.machines, wall_clock());
    let wished = jobs.iter().map(|job| (job.intent, job.record.clone())).collect();
    let built = performer.build(jobs, door).await.map_err(failure)?;
    remember(invocation, &built, known.connection.as_ref());
    if known.connection.is_none() {
        tell_recovery_key(invocation, &built);
    }
    // Where there are none, who shows them asks again, and says why when nobody answers.
    let members = built.members;
    let hooks = &known.config.hooks;
    events::tell(invocation, hooks, &wished, &built.outcomes, members.as_deref()).await;
    let outcomes = built.outcomes.into_iter().map(outcome).collect();
    Ok(Performed { outcomes, members })
}

fn door(connection: &Connection) -> Arc<dyn Door> {
    Arc::new(ApiDoor::new(connection.client.clone()))
}

/// While everything goes, nobody is to replace what is gone.
async fn pause(door: &dyn Door) -> Result<(), CliError> {
    let path = "config.fleet.paused".to_owned();
    let changes = vec![DocumentChange::Set { path, value: true.into() }];
    let request = WriteRequest { note: "destroy --all: pause the rules".to_owned(), changes };
    match door.write(request).await {
        Ok(()) | Err(DoorError::Unreachable(_)) => Ok(()),
        Err(error) => Err(user(&error)),
    }
}

fn settings(invocation: &Invocation, known: &Known, request: &Request) -> PerformSettings {
    let mut settings = PerformSettings {
        concurrent: usize::from(known.config.spawn.concurrent),
        identity_file: None,
        sudo_password: invocation.sudo_password.clone(),
        force: false,
        binary: PathBuf::from(OWN_PROGRAM),
        member: None,
    };
    match request {
        Request::Slave(request) => {
            settings.concurrent = request.concurrent;
            settings.identity_file.clone_from(&request.identity_file);
            settings.force = request.force;
        }
        Request::Destroy(_) | Request::Prune => settings.concurrent = RETIRE_CONCURRENT,
        Request::Spawn(_) | Request::Join(_) => {}
    }
    settings
}

/// Keeps the ways to the new members, so that any of them can be asked later.
fn remember(invocation: &Invocation, built: &Built, asked: Option<&Connection>) {
    let Some(genesis) = &built.genesis else { return };
    let asked = asked.map(|connection| &connection.endpoint);
    let kept = connection::read_contexts(invocation).and_then(|mut contexts| {
        learn_ways(&mut contexts, genesis, &built.outcomes, asked);
        contexts.forget_gone();
        contexts.save(&invocation.home).map_err(|error| CliError::caused(Kind::User, &error))
    });
    if let Err(error) = kept {
        invocation.note(&error.render(false));
    }
}

/// The member that was asked is the first to be tried, or the founder: it knows all the others, of
/// which some may not have heard of each other yet.
fn learn_ways(
    contexts: &mut Contexts,
    genesis: &Genesis,
    outcomes: &[job::Outcome],
    asked: Option<&Endpoint>,
) {
    let founder = outcomes.iter().find(|outcome| outcome.node == Some(genesis.founder));
    let founder = founder.and_then(known::endpoint);
    let ways: Vec<_> = outcomes.iter().filter_map(known::endpoint).collect();
    for way in ways.iter().rev().chain(&founder).chain(asked) {
        contexts.remember(&genesis.name, Some(genesis), way);
    }
}

/// Says where the key of a cluster that was just founded lies.
fn tell_recovery_key(invocation: &Invocation, built: &Built) {
    let Some(genesis) = &built.genesis else { return };
    let path = Home::new(&invocation.home).recovery_file(genesis.cluster_id());
    if path.exists() {
        let path = path.display();
        invocation
            .note(&format!("the recovery key is {path}: keep a copy apart from this computer"));
    }
}

fn outcome(outcome: job::Outcome) -> Outcome {
    match outcome.failure {
        None => Outcome {
            machine: outcome.machine,
            step: outcome.summary,
            error: None,
            hint: None,
            details: Vec::new(),
        },
        Some(failure) => {
            let mut details = Vec::new();
            details.extend(failure.exit_status.map(|status| format!("exit status {status}")));
            details.extend(failure.last_lines.iter().map(|line| format!("| {line}")));
            details.extend(failure.undone.iter().map(|what| format!("{UNDONE}{what}")));
            details.extend(failure.left.iter().map(|what| format!("NOT put back: {what}")));
            Outcome {
                machine: outcome.machine,
                step: failure.step,
                error: Some(failure.cause),
                hint: failure.hint,
                details,
            }
        }
    }
}

pub(crate) fn failure(failure: Failure) -> CliError {
    let error = CliError::user(format!("{}: {}", failure.step, failure.cause));
    match failure.hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::testing::key;
    use crate::model::machine::Access;

    #[test]
    fn who_knows_all_the_others_is_the_first_to_be_asked() {
        let name: Name = "lab".parse().unwrap();
        let genesis = Genesis { founder: key(2).node_id(), nonce: 1, name: name.clone() };
        let outcome = |number| job::Outcome {
            machine: format!("local-{number}"),
            intent: None,
            is_adopted: false,
            node: Some(key(number).node_id()),
            access: Some(Access::Local { home: format!("/{number}").into() }),
            took: Duration::ZERO,
            summary: "joined".to_owned(),
            failure: None,
        };
        let outcomes: Vec<_> = (1..4).map(outcome).collect();
        let learnt = |asked: Option<&Endpoint>| {
            let mut contexts = Contexts::default();
            learn_ways(&mut contexts, &genesis, &outcomes, asked);
            contexts.contexts[&name].connections.clone()
        };
        let way = |number: u8| Endpoint::Unix(format!("/{number}/agent/agent.sock").into());
        assert_eq!(learnt(None), [way(2), way(1), way(3)]);
        assert_eq!(learnt(Some(&way(9))), [way(9), way(2), way(1), way(3)]);
    }

    #[test]
    fn an_unknown_name_is_refused_with_what_is_known() {
        let known = ["docker".to_owned(), "local".to_owned()];
        assert!(check_known("compute type", "local", &known).is_ok());
        let told = |name| check_known("compute type", name, &known).unwrap_err().render(false);
        assert!(told("dcker").contains("did you mean \"docker\"?"), "{}", told("dcker"));
        assert!(told("cloud").contains("known are docker, local"), "{}", told("cloud"));
    }
}
