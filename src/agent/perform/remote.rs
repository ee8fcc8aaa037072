//! A machine behind SSH: the taking over of `provision`, with the cluster's side of it.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::agent::api::Bootstrap;
use crate::agent::clock;
use crate::agent::clock::wall_clock;
use crate::agent::error::chain;
use crate::agent::perform::build::Site;
use crate::agent::perform::claim::check_member;
use crate::agent::perform::claim::check_proof;
use crate::agent::perform::door::Door;
use crate::agent::perform::door::Way;
use crate::agent::perform::entrance::WayIn;
use crate::agent::perform::job::Failure;
use crate::agent::perform::job::MachineJob;
use crate::agent::perform::job::Origin;
use crate::agent::perform::login::log_in;
use crate::agent::perform::login::settled;
use crate::agent::perform::lost::out_of_reach;
use crate::agent::perform::make::Reached;
use crate::agent::perform::make::admission;
use crate::agent::perform::make::admit;
use crate::model::cluster::Genesis;
use crate::model::identity::NodeId;
use crate::model::machine::Access;
use crate::model::name::Name;
use crate::model::possession::Challenge;
use crate::provision::check::Requirements;
use crate::provision::error::SlaveCause;
use crate::provision::error::SlaveError;
use crate::provision::layout::Layout;
use crate::provision::order::Admission;
use crate::provision::order::InitReply;
use crate::provision::order::JoinOrder;
use crate::provision::order::Order;
use crate::provision::order::Program;
use crate::provision::slave::slave;
use crate::ssh::host::Host;
use crate::ssh::target::SshTarget;

/// Where OpenSSH listens when nobody says.
const SSH_PORT: u16 = 22;

/// How often a machine that waits to be seen is told of members that came after it.
const INTRODUCE_INTERVAL: Duration = Duration::from_secs(2);

/// How long an agent on the machine may take until it answers.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(30);

impl Site {
    pub(super) async fn place_remote(
        &self,
        job: &MachineJob,
        target: SshTarget,
        reached: &mut Reached,
    ) -> Result<(), Failure> {
        let title = job.title();
        let progress = self.performer.progress();
        progress.stage(&title, "logging in");
        let challenge = Challenge::new(
            self.cluster_id,
            &clock::random().map_err(|error| Failure::at("draw a challenge", chain(&error)))?,
        );
        let order = self.order(job, &target, &challenge)?;
        let needs_sudo = !target.destination.is_root();
        let patience = self.patience(job);
        let host = log_in(target.clone(), patience).await?;
        if let Some(Access::Ssh { host_keys, .. }) = &mut reached.access
            && host_keys.is_empty()
        {
            *host_keys = host.host_keys().await;
        }
        let host: Arc<dyn Host> = Arc::new(host);
        reached.has_begun = true;
        if patience.waits_for_boot() {
            progress.stage(&title, "waiting for cloud-init");
            settled(host.as_ref(), needs_sudo).await?;
        }
        let gate = Gate {
            site: self,
            job,
            host: Arc::clone(&host),
            order: &order,
            challenge,
            needs_sudo,
            reached,
            told: Mutex::default(),
            failure: Mutex::default(),
        };
        let slaved = slave(host.as_ref(), &order, &gate, progress).await;
        let own = gate.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = reached.entry() {
            reached.node = Some(entry.node);
            reached.name = Some(entry.name);
        }
        match slaved {
            Ok(slaved) => {
                reached.name.get_or_insert(slaved.name);
                if job.join && self.performer.is_rented(&job.record.compute_type) {
                    let renewed = self.renew_host_key(job, host.as_ref(), &target, reached).await;
                    if let Err(failure) = renewed {
                        let cause = failure.cause;
                        tracing::warn!(machine = title, cause, "its host key is that of its birth");
                    }
                }
                Ok(())
            }
            Err(error) => Err(told(&error, own)),
        }
    }

    fn order(
        &self,
        job: &MachineJob,
        target: &SshTarget,
        challenge: &Challenge,
    ) -> Result<Order, Failure> {
        let provision = &self.performer.config().provision;
        let requirements = Requirements {
            architecture: std::env::consts::ARCH.to_owned(),
            free_bytes: provision.free_disk_mb.saturating_mul(1024 * 1024),
            now: wall_clock(),
            cluster: job.join.then_some(self.cluster_id),
            has_sudo_password: target.sudo_password.is_some(),
            force: self.performer.settings().force,
        };
        let modules = if job.provision {
            self.performer.module_inputs(&job.record.server_type)?
        } else {
            Vec::new()
        };
        let join = if job.join {
            let mut init = self.init(job, target);
            init.insert("challenge".to_owned(), json!(challenge));
            Some(JoinOrder {
                program: self.performer.program()?,
                init,
                health_timeout: HEALTH_TIMEOUT,
            })
        } else {
            None
        };
        let is_root = target.destination.is_root();
        let is_new = job.origin == Origin::Backend && is_root;
        Ok(Order { layout: Layout::default(), requirements, is_root, is_new, modules, join })
    }

    /// What `agent init` reads on the machine; the name and what it founds are added there.
    fn init(&self, job: &MachineJob, target: &SshTarget) -> Map<String, Value> {
        let destination = &target.destination;
        let mut init = Map::new();
        let mut set = |key: &str, value: Value| init.insert(key.to_owned(), value);
        set("name", if job.is_named { json!(job.record.name) } else { Value::Null });
        set("compute_type", json!(job.record.compute_type));
        set("server_type", json!(job.record.server_type));
        set("labels", json!(job.record.labels));
        set("listen", json!(self.performer.config().mesh.listen));
        set("ssh_port", json!(destination.port.unwrap_or(SSH_PORT)));
        set("ssh_user", json!(destination.user));
        set("force", json!(self.performer.settings().force));
        init
    }
}

/// The cluster's side of taking a machine over.
struct Gate<'a> {
    site: &'a Site,
    job: &'a MachineJob,
    host: Arc<dyn Host>,
    order: &'a Order,
    /// What the machine signs with the key that it names.
    challenge: Challenge,
    needs_sudo: bool,
    reached: &'a Reached,
    /// The members that the machine was told to call.
    told: Mutex<BTreeSet<NodeId>>,
    /// Why the cluster's side failed, in its own words.
    failure: Mutex<Option<Failure>>,
}

/// A machine's entry into the cluster.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) node: NodeId,
    pub(super) name: Name,
    /// Whether it was a member before: a repair that fails must not put it out.
    pub(super) was_member: bool,
}

impl Gate<'_> {
    async fn open(&self, name: &Name, reply: &InitReply) -> Result<Value, Failure> {
        let node = reply.node_id;
        check_proof(&self.challenge, reply)?;
        let keep = |name: &Name, was_member| {
            let entry = Entry { node, name: name.clone(), was_member };
            *self.reached.entry.lock().unwrap_or_else(PoisonError::into_inner) = Some(entry);
        };
        let founded = reply.genesis.as_ref().filter(|_| self.reached.founds());
        let way = match founded {
            Some(genesis) => Err(genesis.clone()),
            None => match self.site.entrance.enter().await? {
                WayIn::Door(door) => Ok(door),
                WayIn::Found => Err(self.found(name).await?),
            },
        };
        let (bootstrap, was_member) = match way {
            Err(genesis) => {
                // For the door of its agent, which the others wait for.
                self.host.get_ready(1);
                (Bootstrap { genesis, name: name.clone(), peers: Vec::new() }, false)
            }
            Ok(door) => {
                let was_member = self.was_member(door.as_ref(), name, node).await?;
                // Before it is asked for: whoever is interrupted cannot tell how far that came.
                keep(name, was_member);
                let request = admission(self.job, name, node, reply.endpoints.clone());
                (admit(door.as_ref(), request).await?, was_member)
            }
        };
        keep(&bootstrap.name, was_member);
        *self.told() = peers_of(&bootstrap);
        Ok(json!(bootstrap))
    }

    fn told(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the machine is a member already: under its own name, not as a copy of another.
    async fn was_member(
        &self,
        door: &dyn Door,
        name: &Name,
        node: NodeId,
    ) -> Result<bool, Failure> {
        let failed = |error| Failure::at("enter the cluster", chain(&error));
        let members = door.members().await.map_err(failed)?;
        let Some(member) = members.iter().find(|member| member.id == node) else {
            return Ok(false);
        };
        let document = door.document().await.map_err(failed)?;
        let recorded = document.pointer(&format!("/machines/{}/node", self.job.intent));
        let recorded = recorded.and_then(|node| node.as_str()?.parse().ok());
        check_member(member, name, recorded, self.site.performer.settings().force)?;
        Ok(true)
    }

    /// Tells the machine, while it waits to be seen, of members that came after it: it may reach
    /// none but those. Never ends.
    async fn introduce(&self, reply: &InitReply) {
        loop {
            tokio::time::sleep(INTRODUCE_INTERVAL).await;
            let (Some(door), Some(entry)) = (self.site.entrance.door(), self.reached.entry())
            else {
                continue;
            };
            let request = admission(self.job, &entry.name, entry.node, reply.endpoints.clone());
            let Ok(bootstrap) = door.admit(request).await else { continue };
            let peers = peers_of(&bootstrap);
            if peers.is_subset(&self.told()) {
                continue;
            }
            let mut command = self.order.layout.agent_command("adopt", self.needs_sudo);
            command.stdin = json!(bootstrap).to_string().into_bytes();
            if self.host.run(command).await.is_ok_and(|output| output.status == 0) {
                *self.told() = peers;
            }
        }
    }

    /// Takes the place of a founder that failed: the machine's key is there, the cluster is not.
    async fn found(&self, name: &Name) -> Result<Genesis, Failure> {
        self.site.begin_founding_by(self.job, self.reached)?;
        let mut init = self.order.join.as_ref().map(|join| join.init.clone()).unwrap_or_default();
        init.insert("name".to_owned(), json!(name));
        init.insert("found".to_owned(), json!(self.site.found_request(true)));
        let mut command = self.order.layout.agent_command("init", self.needs_sudo);
        command.stdin = Value::Object(init).to_string().into_bytes();
        let failed = |why: String| Failure::at("found the cluster", why);
        let output = self.host.run(command).await.map_err(|error| failed(chain(&error)))?;
        let reply: Option<InitReply> = serde_json::from_slice(&output.stdout).ok();
        let genesis = reply.and_then(|reply| reply.genesis);
        genesis.ok_or_else(|| failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    async fn seen(&self, reply: &InitReply) -> Result<(), Failure> {
        let door = if self.reached.founds() {
            let way = Way::Host { host: Arc::clone(&self.host), sudo: self.needs_sudo };
            let opened = self.site.performer.doors().open(way).await;
            Some(opened.map_err(|error| Failure::at("reach its agent", chain(&error)))?)
        } else {
            None
        };
        let named = Reached {
            machine: self.reached.machine.clone(),
            access: self.reached.access.clone(),
            name: self.reached.entry().map(|entry| entry.name),
            ..Reached::default()
        };
        self.reached.end_turn();
        let founds = door.is_some();
        tokio::select! {
            seen = self.site.joined(self.job, reply.node_id, door, &named) => seen,
            () = self.introduce(reply), if !founds => Ok(()),
            failure = out_of_reach(self.host.as_ref()) => Err(failure),
        }
    }

    /// Keeps the whole failure, and hands on what its caller has room for.
    fn keep(&self, failure: Failure) -> Box<dyn Error + Send + Sync> {
        let cause = failure.cause.clone();
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        cause.into()
    }
}

impl Admission for Gate<'_> {
    fn founding(&self) -> Result<Option<Value>, Box<dyn Error + Send + Sync>> {
        let claimed = self.site.claim_founding(self.job, self.reached);
        let founds = claimed.map_err(|failure| self.keep(failure))?;
        Ok(self.site.found_request(founds).map(|request| json!(request)))
    }

    fn program<'a>(
        &'a self,
        architecture: &'a str,
    ) -> BoxFuture<'a, Result<Option<Program>, Box<dyn Error + Send + Sync>>> {
        Box::pin(async move {
            self.site.program_for(architecture).await.map_err(|failure| self.keep(failure))
        })
    }

    fn admit<'a>(
        &'a self,
        _machine: &'a str,
        name: &'a Name,
        reply: &'a InitReply,
    ) -> BoxFuture<'a, Result<Value, Box<dyn Error + Send + Sync>>> {
        Box::pin(async move { self.open(name, reply).await.map_err(|failure| self.keep(failure)) })
    }

    fn joined<'a>(
        &'a self,
        reply: &'a InitReply,
    ) -> BoxFuture<'a, Result<(), Box<dyn Error + Send + Sync>>> {
        Box::pin(async move { self.seen(reply).await.map_err(|failure| self.keep(failure)) })
    }

    fn withdraw<'a>(&'a self, reply: &'a InitReply) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(entry) = self.reached.entry().filter(|entry| entry.node == reply.node_id) {
                self.site.withdraw(&entry, self.reached.founds()).await;
            }
        })
    }
}

fn peers_of(bootstrap: &Bootstrap) -> BTreeSet<NodeId> {
    bootstrap.peers.iter().map(|peer| peer.id).collect()
}

impl Site {
    /// Takes an entry back; whether that was to be done and was done.
    pub(super) async fn withdraw(&self, entry: &Entry, founds: bool) -> bool {
        if founds || entry.was_member {
            return false;
        }
        match self.entrance.door() {
            Some(door) => door.evict(entry.node.to_string()).await.is_ok(),
            None => false,
        }
    }
}

fn told(error: &SlaveError, own: Option<Failure>) -> Failure {
    let cause = match &error.cause {
        // It names the machine, which stands before the step already.
        SlaveCause::Host(error) => format!("{}: {}", error.step, chain(&error.cause)),
        cause => chain(cause),
    };
    let mut failure = match own {
        Some(own) => own,
        None => Failure::at(error.step.clone(), cause).with_hint(error.hint()),
    };
    failure.exit_status = error.exit_status;
    failure.last_lines.clone_from(&error.last_lines);
    failure.undone.clone_from(&error.undone);
    failure.left.clone_from(&error.left);
    failure
}
