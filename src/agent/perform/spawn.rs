//! Making machines: the wish is written down, the machine asked for, taken over, admitted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::agent::api::AdmitRequest;
use crate::agent::api::DocumentChange;
use crate::agent::api::WriteRequest;
use crate::agent::error::chain;
use crate::agent::initialise;
use crate::agent::machine_file::FoundRequest;
use crate::agent::machine_file::InitRequest;
use crate::agent::perform::door::Door;
use crate::agent::perform::door::Way;
use crate::agent::perform::founding::Founding;
use crate::agent::perform::job::Failure;
use crate::agent::perform::job::Outcome;
use crate::agent::perform::job::SpawnJob;
use crate::agent::perform::local;
use crate::agent::perform::settings::Performer;
use crate::compute::Compute;
use crate::config::home::Home;
use crate::model::cluster::ClusterId;
use crate::model::identity::NodeId;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;
use crate::model::member::Role;
use crate::model::member::Status;

/// How long the members may take to see a machine whose agent answers.
const SEEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How often they are asked.
const SEEN_INTERVAL: Duration = Duration::from_millis(20);

/// What a spawn left: an outcome a machine, and the cluster's door when it has one.
pub struct Spawned {
    /// In the order of the jobs.
    pub outcomes: Vec<Outcome>,
    /// The cluster.
    pub door: Option<Arc<dyn Door>>,
}

/// What the tasks of one spawn share.
struct Shared {
    performer: Performer,
    cluster_id: ClusterId,
    founding: Option<Founding>,
    computes: BTreeMap<String, Arc<dyn Compute>>,
    door: watch::Sender<Option<Result<Arc<dyn Door>, String>>>,
    permits: Semaphore,
}

/// A machine on its way, and what must be undone when it fails.
#[derive(Default)]
struct Progressed {
    machine: Option<Machine>,
    node: Option<NodeId>,
}

impl Performer {
    /// Makes the machines of `jobs`. Without a `door` the first of them founds the cluster.
    ///
    /// # Errors
    /// When the wishes cannot be written down or a back-end does not exist; nothing is made then.
    pub async fn spawn(
        &self,
        jobs: Vec<SpawnJob>,
        door: Option<Arc<dyn Door>>,
    ) -> Result<Spawned, Failure> {
        let computes = self.computes(&jobs)?;
        let founds = door.is_none() && jobs.iter().any(|job| job.join);
        let (cluster_id, founding) = match &door {
            Some(door) => (self.cluster_of(door.as_ref()).await?, None),
            None => {
                let founding = self.begin_founding(&jobs)?;
                (founding.cluster_id(), Some(founding))
            }
        };
        if let Some(door) = &door {
            write_wishes(door.as_ref(), &jobs).await?;
        }
        let shared = Arc::new(Shared {
            performer: self.clone(),
            cluster_id,
            founding,
            computes,
            door: watch::Sender::new(door.map(Ok)),
            permits: Semaphore::new(self.settings().concurrent),
        });
        let mut tasks = JoinSet::new();
        for (index, job) in jobs.iter().cloned().enumerate() {
            let shared = Arc::clone(&shared);
            let is_founder = founds && index == 0;
            tasks.spawn(async move { (index, shared.run(job, is_founder).await) });
        }
        let mut outcomes: Vec<(usize, Outcome)> = Vec::new();
        while let Some(joined) = tasks.join_next().await {
            match joined {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => tracing::error!(%error, "a task of the spawn was lost"),
            }
        }
        outcomes.sort_by_key(|(index, _)| *index);
        let door = shared.door.borrow().clone().and_then(Result::ok);
        if door.is_some() || outcomes.iter().all(|(_, outcome)| outcome.failure.is_some()) {
            Founding::forget(self.home(), self.cluster());
        }
        Ok(Spawned { outcomes: outcomes.into_iter().map(|(_, outcome)| outcome).collect(), door })
    }

    fn computes(&self, jobs: &[SpawnJob]) -> Result<BTreeMap<String, Arc<dyn Compute>>, Failure> {
        let mut computes = BTreeMap::new();
        for job in jobs {
            let name = &job.record.compute_type;
            if !computes.contains_key(name) {
                computes.insert(name.clone(), self.compute(name)?);
            }
        }
        Ok(computes)
    }

    async fn cluster_of(&self, door: &dyn Door) -> Result<ClusterId, Failure> {
        let document =
            door.document().await.map_err(|error| Failure::at("ask the cluster", chain(&error)))?;
        document
            .pointer("/cluster/id")
            .and_then(|id| id.as_str()?.parse().ok())
            .ok_or_else(|| Failure::at("ask the cluster", "its document names no cluster id"))
    }

    /// Writes the wishes down beside the home, or takes up an interrupted founding.
    fn begin_founding(&self, jobs: &[SpawnJob]) -> Result<Founding, Failure> {
        let failed = |error| Failure::at("write the wish for the machines down", chain(&error));
        let earlier = Founding::load(self.home(), self.cluster()).map_err(failed)?;
        let mut founding = match earlier {
            Some(earlier) => earlier,
            None => Founding::new(self.cluster().clone()).map_err(failed)?,
        };
        founding.machines.extend(jobs.iter().map(|job| (job.intent, job.record.clone())));
        founding.save(self.home()).map_err(failed)?;
        Ok(founding)
    }
}

impl Shared {
    async fn run(&self, job: SpawnJob, is_founder: bool) -> Outcome {
        let started = Instant::now();
        let name = job.record.name.to_string();
        // The semaphore is never closed; if it were, the work would only be less bounded.
        let _permit = self.permits.acquire().await.ok();
        let mut progressed = Progressed::default();
        let made = tokio::select! {
            made = self.make(&job, is_founder, &mut progressed) => made,
            () = self.performer.interrupted() => {
                Err(Failure::at("interrupted", "you asked to stop"))
            }
        };
        let progress = self.performer.progress();
        let failure = match made {
            Ok(()) => None,
            Err(mut failure) => {
                if is_founder {
                    let why = format!("the first machine, {name}, failed: {}", failure.cause);
                    self.door.send_replace(Some(Err(why)));
                }
                progress.stage(&name, "undoing");
                failure.undone = self.undo(&job, &progressed).await;
                progress.failed(&name, &format!("{}: {}", failure.step, failure.cause));
                Some(failure)
            }
        };
        let summary = match (&failure, job.join) {
            (Some(_), _) => "failed",
            (None, true) => "joined",
            (None, false) => "made",
        };
        if failure.is_none() {
            progress.done(&name, summary);
        }
        Outcome {
            machine: name,
            node: progressed.node,
            access: progressed.machine.and_then(|machine| machine.access),
            took: started.elapsed(),
            summary: summary.to_owned(),
            failure,
        }
    }

    async fn make(
        &self,
        job: &SpawnJob,
        is_founder: bool,
        progressed: &mut Progressed,
    ) -> Result<(), Failure> {
        let name = job.record.name.as_str();
        let progress = self.performer.progress();
        let compute = &self.computes[&job.record.compute_type];
        progress.stage(name, &format!("making it on {}", compute.name()));
        let spec = MachineSpec {
            intent: job.intent,
            cluster: self.cluster_id,
            name: job.record.name.clone(),
            labels: job.record.labels.clone(),
            authorized_keys: self.performer.authorized_keys().await?,
        };
        let machine = compute.create(&spec).await.map_err(|error| {
            Failure::at("make the machine", chain(&error)).with_hint(error.hint())
        })?;
        progressed.machine = Some(machine.clone());
        match machine.access.clone() {
            Some(Access::Local { home }) => {
                self.place_local(job, &machine, Home::new(home), is_founder, progressed).await
            }
            Some(Access::Ssh { destination, identity_file, host_keys }) => {
                let login = self.performer.spawned_login(
                    job.intent,
                    destination,
                    identity_file,
                    host_keys,
                );
                self.place_remote(job, &machine, login, is_founder, progressed).await
            }
            None => Err(Failure::at("make the machine", "the back-end does not say how to reach it")),
        }
    }

    async fn place_local(
        &self,
        job: &SpawnJob,
        machine: &Machine,
        home: Home,
        is_founder: bool,
        progressed: &mut Progressed,
    ) -> Result<(), Failure> {
        if !job.join {
            return Ok(());
        }
        let name = job.record.name.as_str();
        let progress = self.performer.progress();
        progress.stage(name, "giving it a key");
        let failed = |error: local::LocalError| Failure::at(error.step, error.why);
        let request = self.init_request(job, is_founder);
        let reply = local::initialise(home.clone(), request).await.map_err(failed)?;
        progressed.node = Some(reply.node_id);
        if !is_founder {
            progress.stage(name, "being admitted");
            let bootstrap = self.admit(job, reply.node_id).await?;
            initialise::adopt(&home, &bootstrap, false)
                .map_err(|error| Failure::at("tell it of the cluster", chain(&error)))?;
        }
        progress.stage(name, "starting its agent");
        local::start(&home).map_err(failed)?;
        let door = self
            .performer
            .doors()
            .open(Way::Local(home.clone()))
            .await
            .map_err(|error| {
                let log = home.log_file().display().to_string();
                Failure::at("reach its agent", chain(&error)).with_hint(format!("its log is {log}"))
            })?;
        self.joined(job, machine, reply.node_id, is_founder, door).await
    }

    /// The agent answers: the document is told, and the members are waited for.
    pub(super) async fn joined(
        &self,
        job: &SpawnJob,
        machine: &Machine,
        node: NodeId,
        is_founder: bool,
        own_door: Arc<dyn Door>,
    ) -> Result<(), Failure> {
        if is_founder {
            if let Some(founding) = &self.founding {
                let changes = founding.machines.iter().map(|(intent, record)| wish(*intent, record));
                write(own_door.as_ref(), "wish for the first machines", changes.collect()).await?;
            }
            self.door.send_replace(Some(Ok(Arc::clone(&own_door))));
        }
        let door = self.door().await?;
        let path = format!("machines.{}", job.intent);
        let set = |key: &str, value| DocumentChange::Set { path: format!("{path}.{key}"), value };
        let changes = vec![
            set("machine", json!(machine.id)),
            set("access", json!(machine.access)),
            set("node", json!(node)),
        ];
        write(door.as_ref(), &format!("machine {} is there", job.record.name), changes).await?;
        self.performer.progress().stage(job.record.name.as_str(), "waiting for the members to see it");
        wait_until_seen(door.as_ref(), node).await
    }

    pub(super) fn init_request(&self, job: &SpawnJob, is_founder: bool) -> InitRequest {
        let found = self.founding.as_ref().filter(|_| is_founder);
        InitRequest {
            name: job.record.name.clone(),
            compute_type: job.record.compute_type.clone(),
            server_type: job.record.server_type.clone(),
            labels: job.record.labels.clone(),
            listen: self.performer.listen(&job.record.compute_type),
            ssh_port: None,
            ssh_user: None,
            found: found.map(|founding| FoundRequest {
                cluster: founding.cluster.clone(),
                nonce: founding.nonce,
            }),
        }
    }

    /// The cluster's door, once there is one.
    async fn door(&self) -> Result<Arc<dyn Door>, Failure> {
        let mut door = self.door.subscribe();
        let opened = door.wait_for(Option::is_some).await;
        match opened.as_deref() {
            Ok(Some(Ok(door))) => Ok(Arc::clone(door)),
            Ok(Some(Err(why))) => Err(Failure::at("enter the cluster", why.clone())),
            Ok(None) | Err(_) => Err(Failure::at("enter the cluster", "there is none")),
        }
    }

    pub(super) async fn admit(
        &self,
        job: &SpawnJob,
        node: NodeId,
    ) -> Result<crate::agent::api::Bootstrap, Failure> {
        let request = AdmitRequest {
            node,
            name: job.record.name.clone(),
            role: Role::Full,
            endpoints: Vec::new(),
            intent: Some(job.intent),
        };
        let admitted = self.door().await?.admit(request).await;
        admitted.map_err(|error| Failure::at("enter the cluster", chain(&error)))
    }

    /// Puts back what a failed machine left; in words, what was done.
    async fn undo(&self, job: &SpawnJob, progressed: &Progressed) -> Vec<String> {
        let mut undone = Vec::new();
        let door = self.door.borrow().clone().and_then(Result::ok);
        if let (Some(door), Some(node)) = (&door, progressed.node) {
            if door.evict(node.to_string()).await.is_ok() {
                undone.push("its key was taken out of the cluster".to_owned());
            }
        }
        let compute = &self.computes[&job.record.compute_type];
        let machine = match &progressed.machine {
            Some(machine) => Ok(Some(machine.clone())),
            // The request may have come through although no answer did.
            None => compute.find(job.intent).await,
        };
        let destroyed = match machine {
            Ok(None) => Ok(false),
            Ok(Some(machine)) => compute.destroy(&machine).await.map(|()| true),
            Err(error) => Err(error),
        };
        match destroyed {
            Ok(true) => undone.push("the machine was destroyed".to_owned()),
            Ok(false) => {}
            Err(error) => undone.push(format!("the machine may still be there: {}", chain(&error))),
        }
        if let Some(door) = &door {
            let path = format!("machines.{}", job.intent);
            let note = format!("machine {} failed", job.record.name);
            let forgotten = write(door.as_ref(), &note, vec![DocumentChange::Unset { path }]).await;
            if forgotten.is_ok() {
                undone.push("the wish was withdrawn".to_owned());
            }
        }
        undone
    }
}

fn wish(intent: IntentId, record: &crate::model::machine::MachineRecord) -> DocumentChange {
    DocumentChange::Set { path: format!("machines.{intent}"), value: json!(record) }
}

async fn write_wishes(door: &dyn Door, jobs: &[SpawnJob]) -> Result<(), Failure> {
    let changes = jobs.iter().map(|job| wish(job.intent, &job.record)).collect();
    let names: Vec<&str> = jobs.iter().map(|job| job.record.name.as_str()).collect();
    write(door, &format!("wish for {}", names.join(", ")), changes).await
}

async fn write(
    door: &dyn Door,
    note: &str,
    changes: Vec<DocumentChange>,
) -> Result<(), Failure> {
    let request = WriteRequest { note: note.to_owned(), changes };
    door.write(request).await.map_err(|error| Failure::at("write it down", chain(&error)))
}

/// Waits until the cluster calls the machine alive.
pub(super) async fn wait_until_seen(door: &dyn Door, node: NodeId) -> Result<(), Failure> {
    let deadline = Instant::now() + SEEN_TIMEOUT;
    loop {
        let last = match door.members().await {
            Ok(members) => match members.iter().find(|member| member.id == node) {
                Some(member) if member.status == Status::Alive => return Ok(()),
                Some(member) => format!("they call it {}", member.status),
                None => "they do not know it".to_owned(),
            },
            Err(error) => chain(&error),
        };
        if Instant::now() > deadline {
            let seconds = SEEN_TIMEOUT.as_secs();
            let why = format!("the members do not see it after {seconds} s: {last}");
            return Err(Failure::at("wait for the members", why)
                .with_hint("is UDP between the machines let through?"));
        }
        tokio::time::sleep(SEEN_INTERVAL).await;
    }
}
