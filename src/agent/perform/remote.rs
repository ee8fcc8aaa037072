//! A machine behind SSH: the taking over of `provision`, with the cluster's side of it.

use std::error::Error;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::agent::api::Bootstrap;
use crate::agent::clock::wall_clock;
use crate::agent::error::chain;
use crate::agent::perform::build::Site;
use crate::agent::perform::door::Way;
use crate::agent::perform::job::Failure;
use crate::agent::perform::job::MachineJob;
use crate::agent::perform::make::Reached;
use crate::model::identity::NodeId;
use crate::model::name::Name;
use crate::provision::check::Requirements;
use crate::provision::error::SlaveCause;
use crate::provision::error::SlaveError;
use crate::provision::layout::Layout;
use crate::provision::order::Admission;
use crate::provision::order::InitReply;
use crate::provision::order::JoinOrder;
use crate::provision::order::Order;
use crate::provision::slave::slave;
use crate::ssh::host::Host;
use crate::ssh::openssh::OpenSshHost;
use crate::ssh::target::SshTarget;

/// Where OpenSSH listens when nobody says.
const SSH_PORT: u16 = 22;

/// How long an agent on the machine may take until it answers.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(30);

impl Site {
    pub(super) async fn place_remote(
        &self,
        job: &MachineJob,
        target: SshTarget,
        is_founder: bool,
        reached: &mut Reached,
    ) -> Result<(), Failure> {
        let title = job.title();
        let progress = self.performer.progress();
        progress.stage(&title, "logging in");
        let order = self.order(job, &target, is_founder)?;
        let needs_sudo = target.destination.user.as_deref() != Some("root");
        let host = OpenSshHost::connect(target)
            .await
            .map_err(|error| Failure::at("log in", chain(&error)).with_hint(error.hint()))?;
        let host: Arc<dyn Host> = Arc::new(host);
        reached.has_begun = true;
        let gate = Gate { site: self, job, is_founder, entry: Arc::clone(&reached.entry) };
        let slaved = slave(host.as_ref(), &order, &gate, progress).await;
        if let Some(entry) = reached.entry() {
            reached.node = Some(entry.node);
            reached.name = Some(entry.name);
        }
        let slaved = slaved.map_err(|error| told(&error))?;
        let Some(reply) = slaved.reply else {
            reached.name = Some(slaved.name);
            return Ok(());
        };
        let door = if is_founder {
            let way = Way::Host { host: Arc::clone(&host), sudo: needs_sudo };
            let opened = self.performer.doors().open(way).await;
            Some(opened.map_err(|error| Failure::at("reach its agent", chain(&error)))?)
        } else {
            None
        };
        self.joined(job, reply.node_id, door, reached).await
    }

    fn order(
        &self,
        job: &MachineJob,
        target: &SshTarget,
        is_founder: bool,
    ) -> Result<Order, Failure> {
        let provision = &self.performer.config().provision;
        let joins_another = !is_founder && job.join;
        let requirements = Requirements {
            architecture: std::env::consts::ARCH.to_owned(),
            free_bytes: provision.free_disk_mb.saturating_mul(1024 * 1024),
            now: wall_clock(),
            cluster: joins_another.then_some(self.cluster_id),
            has_sudo_password: target.sudo_password.is_some(),
            force: self.performer.settings().force,
        };
        let modules = if job.provision {
            self.performer.module_inputs(&job.record.server_type)?
        } else {
            Vec::new()
        };
        let join = if job.join {
            let init = self.init(job, target, is_founder);
            Some(JoinOrder {
                program: self.performer.program()?,
                init,
                health_timeout: HEALTH_TIMEOUT,
            })
        } else {
            None
        };
        Ok(Order { layout: Layout::default(), requirements, modules, join })
    }

    /// What `agent init` reads on the machine; the name is added there.
    fn init(&self, job: &MachineJob, target: &SshTarget, is_founder: bool) -> Map<String, Value> {
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
        set("found", json!(self.found_request(is_founder)));
        init
    }
}

/// The cluster's side of taking a machine over.
struct Gate<'a> {
    site: &'a Site,
    job: &'a MachineJob,
    is_founder: bool,
    entry: Arc<Mutex<Option<Entry>>>,
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
        let keep = |name: &Name, was_member| {
            let entry = Entry { node, name: name.clone(), was_member };
            *self.entry.lock().unwrap_or_else(PoisonError::into_inner) = Some(entry);
        };
        let bootstrap = match &reply.genesis {
            Some(genesis) if self.is_founder => {
                Bootstrap { genesis: genesis.clone(), name: name.clone(), peers: Vec::new() }
            }
            _ => {
                let was_member = self.site.is_member(node).await?;
                // Before it is asked for: whoever is interrupted cannot tell how far that came.
                keep(name, was_member);
                self.site.admit(self.job, name, node).await?
            }
        };
        let was_member = self.entry().is_some_and(|entry| entry.was_member);
        keep(&bootstrap.name, was_member);
        Ok(json!(bootstrap))
    }

    fn entry(&self) -> Option<Entry> {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Admission for Gate<'_> {
    fn admit<'a>(
        &'a self,
        _machine: &'a str,
        name: &'a Name,
        reply: &'a InitReply,
    ) -> BoxFuture<'a, Result<Value, Box<dyn Error + Send + Sync>>> {
        Box::pin(
            async move { self.open(name, reply).await.map_err(|failure| failure.cause.into()) },
        )
    }

    fn withdraw<'a>(&'a self, reply: &'a InitReply) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(entry) = self.entry().filter(|entry| entry.node == reply.node_id) {
                self.site.withdraw(&entry, self.is_founder).await;
            }
        })
    }
}

impl Site {
    async fn is_member(&self, node: NodeId) -> Result<bool, Failure> {
        let members = self.door().await?.members().await;
        let members = members.map_err(|error| Failure::at("enter the cluster", chain(&error)))?;
        Ok(members.iter().any(|member| member.id == node))
    }

    /// Takes an entry back; whether that was to be done and was done.
    pub(super) async fn withdraw(&self, entry: &Entry, is_founder: bool) -> bool {
        if is_founder || entry.was_member {
            return false;
        }
        let door = self.door.borrow().clone().and_then(Result::ok);
        match door {
            Some(door) => door.evict(entry.node.to_string()).await.is_ok(),
            None => false,
        }
    }
}

fn told(error: &SlaveError) -> Failure {
    let mut failure = Failure::at(error.step.clone(), chain(&error.cause));
    if let SlaveCause::Admission(cause) = &error.cause {
        failure.cause = cause.to_string();
    }
    failure.exit_status = error.exit_status;
    failure.last_lines.clone_from(&error.last_lines);
    failure.undone.clone_from(&error.undone);
    failure.left.clone_from(&error.left);
    failure.with_hint(error.hint())
}
