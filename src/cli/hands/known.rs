//! What is known of the cluster before anything is planned.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::agent::clock::wall_clock;
use crate::agent::perform::founding::Founding;
use crate::agent::perform::job;
use crate::cli::configuration;
use crate::cli::connection;
use crate::cli::connection::Connection;
use crate::cli::endpoint::Endpoint;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::invocation::Invocation;
use crate::cli::perform::Request;
use crate::cli::revive::revive;
use crate::cli::secrets;
use crate::cli::ways::way;
use crate::compute;
use crate::compute::Secrets;
use crate::config::home::Home;
use crate::config::load::Loaded;
use crate::config::module::Modules;
use crate::config::schema::Config;
use crate::model::action::Action;
use crate::model::action::Plan;
use crate::model::cluster::ClusterId;
use crate::model::destination::Destination;
use crate::model::identity::NodeId;
use crate::model::label::Labels;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineRecord;
use crate::model::machine::MachineRecords;
use crate::model::member::Member;
use crate::model::member::Status;
use crate::model::name::Name;
use crate::model::time::Timestamp;
use crate::reconcile::world::ADOPTED;
use crate::reconcile::world::KnownMember;
use crate::reconcile::world::World;
use crate::ssh::known_hosts::KnownHosts;
use crate::ssh::target::SshTarget;

/// The cluster as far as it can be seen.
pub struct Known {
    /// An agent of it that answers.
    pub connection: Option<Connection>,
    /// Its name, or the name it will have.
    pub cluster: Name,
    /// Its id, when there is one.
    pub cluster_id: Option<ClusterId>,
    /// The configuration with its document's layer.
    pub config: Config,
    /// The modules, with those that the configuration carries.
    pub modules: Modules,
    /// Its machines and members.
    pub world: World,
    /// Its document, where it was asked for.
    document: Option<Value>,
}

impl Known {
    /// Asks the cluster. Where no member answers, `destroy` makes do with what the back-ends know.
    ///
    /// # Errors
    /// Members are known and none answers, or the configuration is wrong.
    pub async fn find(invocation: &Invocation, request: &Request) -> Result<Self, CliError> {
        let opened = match request {
            Request::Spawn(_) | Request::Slave(_) => connection::open_if_known(invocation).await,
            _ => connection::open_if_any(invocation).await,
        };
        let connection = match (opened, request) {
            (Err(error), Request::Destroy(_)) => {
                return Self::from_back_ends(invocation).await?.ok_or(error);
            }
            (Err(error), Request::Slave(request)) if !invocation.dry_run => {
                revive(invocation, request, error).await?
            }
            (other, _) => other?,
        };
        let Some(connection) = connection else {
            if matches!(request, Request::Destroy(_) | Request::Prune) {
                // A founding that was cut off left machines, and nobody who knows of them.
                if let Some(known) = Self::from_back_ends(invocation).await? {
                    return Ok(known);
                }
                return Err(connection::none(invocation).into());
            }
            return Self::nothing(invocation);
        };
        let document = connection.client.document().await?;
        let members = connection.client.members().await?;
        let now = wall_clock();
        let Loaded { config, modules, .. } = configuration::loaded(invocation, Some(&document))?;
        Ok(Self {
            cluster: connection.status.cluster.clone(),
            cluster_id: Some(connection.status.cluster_id),
            config,
            modules,
            world: World {
                is_founded: true,
                machines: machines(&document),
                members: members.iter().map(|member| known_member(member, now)).collect(),
                executor: Some(connection.status.node),
            },
            document: Some(document),
            connection: Some(connection),
        })
    }

    /// Opens the cluster's secrets, as far as a key in this home does.
    ///
    /// # Errors
    /// A key cannot be read.
    pub fn secrets(&self, invocation: &Invocation) -> Result<Secrets, CliError> {
        let Some(document) = &self.document else { return Ok(compute::no_secrets()) };
        let told = document.pointer("/cluster/id").and_then(|id| id.as_str()?.parse().ok());
        match self.cluster_id.or(told) {
            Some(cluster) => secrets::open(invocation, document, cluster),
            None => Ok(compute::no_secrets()),
        }
    }

    /// Where there is no cluster yet: its name as it will be.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn nothing(invocation: &Invocation) -> Result<Self, CliError> {
        let document = invocation.assumed_document.as_deref();
        let Loaded { config, modules, .. } = configuration::loaded(invocation, document)?;
        let cluster = invocation.cluster.clone().unwrap_or_else(|| config.cluster.name.clone());
        let world = World::default();
        let document = document.cloned();
        Ok(Self { connection: None, cluster, cluster_id: None, config, modules, world, document })
    }

    /// The cluster's machines as the back-ends list them: all that is left when no agent runs.
    async fn from_back_ends(invocation: &Invocation) -> Result<Option<Self>, CliError> {
        let contexts = connection::read_contexts(invocation)?;
        let Loaded { config, modules, .. } = configuration::loaded(invocation, None)?;
        let name = invocation.cluster.clone().or_else(|| contexts.current.clone());
        let name = name.unwrap_or_else(|| config.cluster.name.clone());
        let genesis = contexts.contexts.get(&name).and_then(|context| context.genesis.clone());
        let cluster_id = match genesis {
            Some(genesis) => genesis.cluster_id(),
            None => match Founding::load(&Home::new(&invocation.home), &name) {
                Ok(Some(founding)) => founding.cluster_id(),
                Ok(None) => return Ok(None),
                Err(error) => return Err(CliError::caused(Kind::User, &error)),
            },
        };
        let mut machines = MachineRecords::new();
        let folder = Home::new(&invocation.home).machines_folder();
        for compute_type in config.compute_types.keys() {
            match list(&config, compute_type, &folder, cluster_id).await {
                Ok(listed) => {
                    let records =
                        listed.iter().map(|found| (found.intent, record(found, compute_type)));
                    machines.extend(records);
                }
                Err(why) => invocation.detail(&format!("{compute_type}: {why}")),
            }
        }
        if machines.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            connection: None,
            cluster: name,
            cluster_id: Some(cluster_id),
            config,
            modules,
            world: World { is_founded: true, machines, ..World::default() },
            document: None,
        }))
    }

    /// Another member to ask, when the plan takes away the one that answers and not all of them.
    pub async fn spared(&self, invocation: &Invocation, plan: &Plan) -> Option<Connection> {
        let doomed: BTreeSet<NodeId> = plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Evict { node, .. } => Some(*node),
                _ => None,
            })
            .collect();
        let executor = self.world.executor.filter(|executor| doomed.contains(executor))?;
        if self.world.members.keys().all(|node| doomed.contains(node) || *node == executor) {
            return None;
        }
        connection::open_spared(invocation, &self.cluster, &doomed).await
    }

    /// Forgets ways to machines that are gone, and the cluster with the last of them.
    pub fn forget(&self, invocation: &Invocation, plan: &Plan, outcomes: &[job::Outcome]) {
        let gone: Vec<IntentId> = plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Destroy { intent, name, .. } | Action::Forget { intent, name } => {
                    let done = outcomes.iter().any(|outcome| {
                        outcome.machine == name.as_str() && outcome.failure.is_none()
                    });
                    done.then_some(*intent)
                }
                _ => None,
            })
            .collect();
        let forgotten = connection::read_contexts(invocation).and_then(|mut contexts| {
            for intent in &gone {
                let Some(record) = self.world.machines.get(intent) else { continue };
                let Some(access) = &record.access else { continue };
                let made = Some(*intent).filter(|_| record.compute_type != ADOPTED);
                contexts.forget(&self.cluster, &way(access, made));
                if let Access::Ssh { destination, .. } = access {
                    forget_keys(invocation, *intent, destination);
                }
            }
            let all_done = outcomes.iter().all(|outcome| outcome.failure.is_none());
            let none_left = gone.len() == self.world.machines.len()
                && outcomes.len() >= self.world.members.len();
            if all_done && none_left {
                contexts.remove(&self.cluster);
                Founding::forget(&Home::new(&invocation.home), &self.cluster);
            }
            contexts.save(&invocation.home).map_err(|error| CliError::caused(Kind::User, &error))
        });
        if let Err(error) = forgotten {
            invocation.note(&error.render(false));
        }
    }
}

fn known_member(member: &Member, now: Timestamp) -> (NodeId, KnownMember) {
    let known = KnownMember {
        name: member.name.clone(),
        status: member.status,
        status_for: match member.status {
            // It may be on its way.
            Status::Booting => Some(now.since(member.joined_at)),
            // The members waited before they called it dead; nobody needs to wait again.
            _ => None,
        },
    };
    (member.id, known)
}

/// The document's machines; a record that cannot be read is passed over.
#[must_use]
pub fn machines(document: &Value) -> MachineRecords {
    let entries = document.get("machines").and_then(Value::as_object);
    entries
        .into_iter()
        .flatten()
        .filter_map(|(intent, record)| {
            let record: MachineRecord = serde_json::from_value(record.clone()).ok()?;
            Some((intent.parse().ok()?, record))
        })
        .collect()
}

async fn list(
    config: &Config,
    compute_type: &str,
    folder: &Path,
    cluster: ClusterId,
) -> Result<Vec<Machine>, String> {
    let settings = crate::agent::perform::settings::back_end_settings(config, compute_type)
        .map_err(|failure| failure.cause)?;
    let told = |error: compute::error::ComputeError| crate::cli::error::with_causes(&error);
    compute::open(compute_type, &settings, folder).map_err(told)?.list(cluster).await.map_err(told)
}

fn record(machine: &Machine, compute_type: &str) -> MachineRecord {
    MachineRecord {
        name: machine.name.clone(),
        compute_type: compute_type.to_owned(),
        server_type: String::new(),
        labels: Labels::new(),
        created_at: crate::agent::clock::wall_clock(),
        machine: Some(machine.id.clone()),
        access: machine.access.clone(),
        node: None,
        upkeep: crate::model::upkeep::Upkeep::default(),
        rest: serde_json::Map::default(),
    }
}

/// The way to a machine that has just joined.
pub fn endpoint(outcome: &job::Outcome) -> Option<Endpoint> {
    outcome.node?;
    let intent = outcome.intent.filter(|_| !outcome.is_adopted);
    Some(way(outcome.access.as_ref()?, intent))
}

/// The machine's SSH host keys are known no more: whoever installs it anew gives it others.
fn forget_keys(invocation: &Invocation, intent: IntentId, destination: &Destination) {
    let path = invocation.known_hosts();
    let known = KnownHosts::new(&path);
    let name = SshTarget::new(destination.clone(), path).key_name();
    for name in [intent.to_string(), name] {
        if let Err(error) = known.forget(&name) {
            invocation.detail(&format!("{name} stays in the known hosts: {error}"));
        }
    }
}
