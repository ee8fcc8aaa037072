//! One machine, from the wish to a member that the others see; and back when that fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::agent::api::AdmitRequest;
use crate::agent::api::Bootstrap;
use crate::agent::clock::wall_clock;
use crate::agent::error::chain;
use crate::agent::machine_file::Description;
use crate::agent::machine_file::FoundRequest;
use crate::agent::machine_file::InitRequest;
use crate::agent::perform::build::Site;
use crate::agent::perform::build::arrival;
use crate::agent::perform::build::gone;
use crate::agent::perform::build::wish;
use crate::agent::perform::build::write;
use crate::agent::perform::crowd::Turn;
use crate::agent::perform::door::Door;
use crate::agent::perform::door::Way;
use crate::agent::perform::entrance::WayIn;
use crate::agent::perform::founding::Founding;
use crate::agent::perform::job::Failure;
use crate::agent::perform::job::INTERRUPTED;
use crate::agent::perform::job::MachineJob;
use crate::agent::perform::job::Origin;
use crate::agent::perform::job::Outcome;
use crate::agent::perform::local;
use crate::agent::perform::local::AtWork;
use crate::agent::perform::lost::LocalProcesses;
use crate::agent::perform::remote::Entry;
use crate::agent::perform::seen::wait_while_others_come;
use crate::config::home::Home;
use crate::model::identity::NodeId;
use crate::model::machine::Access;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;
use crate::model::member::Role;
use crate::model::name::Name;

/// A machine on its way, and what must be undone when it fails.
#[derive(Default)]
pub(super) struct Reached {
    pub(super) machine: Option<Machine>,
    pub(super) node: Option<NodeId>,
    pub(super) name: Option<Name>,
    pub(super) access: Option<Access>,
    /// Whether something may have been changed on a machine that was there before.
    pub(super) has_begun: bool,
    /// Whether it founds the cluster: from the first, or in the place of one that failed.
    pub(super) founds: Arc<AtomicBool>,
    /// Its entry into the cluster through SSH, known also when the work is broken off.
    pub(super) entry: Arc<Mutex<Option<Entry>>>,
    /// Locked while a thread that cannot be broken off writes into the machine's home.
    pub(super) at_work: Arc<tokio::sync::Mutex<()>>,
    /// Its share of the work, until nothing is left but to wait for the members.
    pub(super) turn: Mutex<Option<Turn>>,
}

impl Reached {
    pub(super) fn founds(&self) -> bool {
        self.founds.load(Ordering::Relaxed)
    }

    /// Nothing is left but to wait for the members.
    pub(super) fn end_turn(&self) {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(super) fn entry(&self) -> Option<Entry> {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until nothing writes into the machine's home any more, and keeps it so.
    async fn at_work(&self) -> AtWork {
        Arc::clone(&self.at_work).lock_owned().await
    }
}

impl Site {
    /// Makes one machine; puts it back when that fails. Waits for its turn unless it has a permit
    /// already.
    pub(super) async fn run(&self, job: MachineJob, is_founder: bool, mut turn: Turn) -> Outcome {
        let started = Instant::now();
        let title = job.title();
        let mut reached =
            Reached { founds: Arc::new(AtomicBool::new(is_founder)), ..Reached::default() };
        let (made, is_interrupted) = tokio::select! {
            // First, so that what has not begun yet does not begin.
            biased;
            () = self.performer.interrupted() => {
                (Err(Failure::at(INTERRUPTED, "you asked to stop")), true)
            }
            made = async {
                if turn.permit.is_none() {
                    // The semaphore is never closed; the work would only be less bounded.
                    turn.permit = Arc::clone(&self.permits).acquire_owned().await.ok();
                }
                reached.turn = Mutex::new(Some(turn));
                self.make(&job, &mut reached).await
            } => (made, false),
        };
        reached.end_turn();
        let progress = self.performer.progress();
        let failure = match made {
            Ok(()) => None,
            Err(mut failure) => {
                self.undo(&job, &reached, &mut failure).await;
                if is_interrupted && job.origin != Origin::Backend {
                    self.break_off(&reached, &mut failure).await;
                }
                if reached.founds() {
                    self.entrance.give_up();
                }
                progress.failed(&title, &format!("{}: {}", failure.step, failure.cause));
                Some(failure)
            }
        };
        let summary = match (&failure, job.join) {
            (Some(_), _) => "failed",
            (None, true) => "joined",
            (None, false) => "made",
        };
        if failure.is_none() {
            progress.done(&title, summary);
        }
        Outcome {
            machine: reached.name.map_or(title, |name| name.to_string()),
            intent: Some(job.intent),
            node: reached.node,
            is_adopted: job.origin != Origin::Backend,
            access: reached.access,
            took: started.elapsed(),
            summary: summary.to_owned(),
            failure,
        }
    }

    async fn make(&self, job: &MachineJob, reached: &mut Reached) -> Result<(), Failure> {
        if let Origin::Host { destination, via } = &job.origin {
            let login = self.performer.adopted_login(
                job.title(),
                job.intent,
                destination,
                via.as_ref(),
                job.host_keys(),
            );
            reached.access = Some(Access::Ssh {
                destination: destination.clone(),
                via: via.clone(),
                identity_file: self.performer.settings().identity_file.clone(),
                host_keys: login.host_keys.clone(),
            });
            return self.place_remote(job, login, reached).await;
        }
        let machine = self.create(job).await?;
        reached.machine = Some(machine.clone());
        reached.access.clone_from(&machine.access);
        match machine.access {
            Some(Access::Local { home }) => self.place_local(job, Home::new(home), reached).await,
            Some(Access::Ssh { destination, identity_file, host_keys, .. }) => {
                let login = self.performer.spawned_login(
                    job.title(),
                    job.intent,
                    destination,
                    identity_file,
                    host_keys,
                );
                self.place_remote(job, login, reached).await
            }
            None => {
                Err(Failure::at("make the machine", "the back-end does not say how to reach it"))
            }
        }
    }

    async fn authorized_keys(&self, compute_type: &str) -> Result<Vec<String>, Failure> {
        let door = self.entrance.door();
        self.performer.authorized_keys(compute_type, door.as_deref()).await
    }

    async fn create(&self, job: &MachineJob) -> Result<Machine, Failure> {
        let name = &job.record.name;
        let compute = &self.computes[&job.record.compute_type];
        self.performer.progress().stage(name.as_str(), &format!("making it on {}", compute.name()));
        let spec = MachineSpec {
            intent: job.intent,
            cluster: self.cluster_id,
            name: name.clone(),
            labels: job.record.labels.clone(),
            authorized_keys: self.authorized_keys(&job.record.compute_type).await?,
        };
        compute
            .create(&spec)
            .await
            .map_err(|error| Failure::at("make the machine", chain(&error)).with_hint(error.hint()))
    }

    async fn place_local(
        &self,
        job: &MachineJob,
        home: Home,
        reached: &mut Reached,
    ) -> Result<(), Failure> {
        if !job.join {
            return Ok(());
        }
        let name = job.record.name.as_str();
        let progress = self.performer.progress();
        progress.stage(name, "giving it a key");
        let failed = |error: local::LocalError| Failure::at(error.step, error.why);
        let request = self.init_request(job, self.claim_founding(job, reached)?);
        let reply = local::initialise(home.clone(), request, reached.at_work().await);
        let reply = reply.await.map_err(failed)?;
        reached.node = Some(reply.node_id);
        // An agent that runs already has read its file: it is told through its door.
        let mut untold = None;
        if !reached.founds() {
            progress.stage(name, "being admitted");
            match self.entrance.enter().await? {
                WayIn::Found => {
                    self.begin_founding_by(job, reached)?;
                    let request = self.init_request(job, true);
                    let at_work = reached.at_work().await;
                    local::initialise(home.clone(), request, at_work).await.map_err(failed)?;
                }
                WayIn::Door(door) => {
                    let request = admission(job, &job.record.name, reply.node_id, Vec::new());
                    let bootstrap = admit(door.as_ref(), request).await?;
                    untold = reply.genesis.is_some().then(|| bootstrap.clone());
                    let at_work = reached.at_work().await;
                    local::adopt(home.clone(), bootstrap, at_work).await.map_err(failed)?;
                }
            }
        }
        progress.stage(name, "starting its agent");
        let processes = LocalProcesses::start(&home).map_err(failed)?;
        let entered = async {
            let way = Way::Local { home: home.clone(), log_start: processes.log_start };
            let opened = self.performer.doors().open(way).await;
            let failed = |error| processes.failure("reach its agent", chain(&error));
            let door = opened.map_err(failed)?;
            if let Some(bootstrap) = untold {
                let introduced = door.introduce(bootstrap).await;
                introduced.map_err(|error| Failure::at("introduce the members", chain(&error)))?;
            }
            self.joined(job, reply.node_id, reached.founds().then_some(door), reached).await
        };
        tokio::select! {
            entered = entered => entered,
            failure = processes.ended() => Err(failure),
        }
    }

    /// The agent answers: the document is told, and the members are waited for.
    pub(super) async fn joined(
        &self,
        job: &MachineJob,
        node: NodeId,
        founders_door: Option<Arc<dyn Door>>,
        reached: &Reached,
    ) -> Result<(), Failure> {
        if let Some(own_door) = founders_door {
            if let Some(founding) = &self.founding {
                let wishes = founding.machines.iter();
                let changes: Vec<_> =
                    wishes.map(|(intent, record)| wish(*intent, record)).collect();
                if !changes.is_empty() {
                    write(own_door.as_ref(), "wish for the first machines", changes).await?;
                }
            }
            self.entrance.open(own_door);
        }
        let Some(cluster) = self.entrance.door() else {
            return Err(Failure::at("enter the cluster", "there is none"));
        };
        let mut record = job.record.clone();
        record.node = Some(node);
        record.machine = reached.machine.as_ref().map(|machine| machine.id.clone());
        record.access.clone_from(&reached.access);
        if let Some(name) = &reached.name {
            record.name = name.clone();
        }
        let news = format!("machine {} is there", record.name);
        self.performer.progress().stage(&job.title(), "waiting for the members to see it");
        reached.end_turn();
        let told = write(cluster.as_ref(), &news, arrival(job, &record));
        let seen = wait_while_others_come(cluster.as_ref(), node, || self.crowd.is_working());
        tokio::try_join!(told, seen).map(drop)
    }

    fn init_request(&self, job: &MachineJob, is_founder: bool) -> InitRequest {
        InitRequest {
            description: Description {
                name: job.record.name.clone(),
                compute_type: job.record.compute_type.clone(),
                server_type: job.record.server_type.clone(),
                labels: job.record.labels.clone(),
                listen: self.performer.listen(&job.record.compute_type),
                ssh_port: None,
                ssh_user: None,
            },
            force: false,
            // It is made here: nobody can name another's key.
            challenge: None,
            found: self.found_request(is_founder),
        }
    }

    /// Whether the machine of `job`, which is ready, is to found the cluster.
    pub(super) fn claim_founding(
        &self,
        job: &MachineJob,
        reached: &Reached,
    ) -> Result<bool, Failure> {
        if !reached.founds() && self.founding.is_some() && self.entrance.claim() {
            self.begin_founding_by(job, reached)?;
        }
        Ok(reached.founds())
    }

    /// Writes down who founds the cluster: when the work is taken up again, it must be the same.
    pub(super) fn begin_founding_by(
        &self,
        job: &MachineJob,
        reached: &Reached,
    ) -> Result<(), Failure> {
        // First, so that another takes its place if this fails.
        reached.founds.store(true, Ordering::Relaxed);
        let Some(founding) = &self.founding else { return Ok(()) };
        let founding = Founding { founder: Some(job.intent), ..founding.clone() };
        let kept = founding.save(self.performer.home());
        kept.map_err(|error| Failure::at("write down who founds the cluster", chain(&error)))
    }

    pub(super) fn found_request(&self, is_founder: bool) -> Option<FoundRequest> {
        let founding = self.founding.as_ref().filter(|_| is_founder)?;
        Some(FoundRequest {
            cluster: founding.cluster.clone(),
            nonce: founding.nonce,
            recovery: founding.recovery.clone(),
        })
    }

    /// Puts back what a failed machine left, and says what was done.
    async fn undo(&self, job: &MachineJob, reached: &Reached, failure: &mut Failure) {
        if job.origin != Origin::Backend {
            return;
        }
        let _at_work = reached.at_work().await;
        let undone = &mut failure.undone;
        let door = self.entrance.door();
        self.performer.progress().stage(&job.title(), "undoing");
        if let (Some(door), Some(node)) = (&door, reached.node)
            && door.evict(node.to_string()).await.is_ok()
        {
            undone.push("its key was taken out of the cluster".to_owned());
        }
        match self.give_back(job, reached).await {
            Ok(true) => undone.push("the machine was destroyed".to_owned()),
            Ok(false) => {}
            // The wish stays: it is how the machine is found later.
            Err(why) => {
                failure.left.push(format!("the machine may still be there: {why}"));
                return;
            }
        }
        if let Some(door) = door.filter(|_| !job.is_wished) {
            let note = format!("machine {} failed", job.record.name);
            let changes = gone(job.intent, &job.record.tombstone(wall_clock(), "it failed", true));
            if write(door.as_ref(), &note, changes).await.is_ok() {
                undone.push("the wish was withdrawn".to_owned());
            }
        }
    }

    /// The user stopped while a machine was being taken over: what was half made there is named.
    async fn break_off(&self, reached: &Reached, failure: &mut Failure) {
        if !reached.has_begun {
            return;
        }
        if let Some(entry) = reached.entry()
            && self.withdraw(&entry, reached.founds()).await
        {
            failure.undone.push("its key was taken out of the cluster".to_owned());
        }
        failure.left.push("what was begun on the machine".to_owned());
        failure.hint = Some("`raptor slave` again on it takes it up where it stopped".to_owned());
    }

    /// Destroys what the back-end made; whether there was anything.
    async fn give_back(&self, job: &MachineJob, reached: &Reached) -> Result<bool, String> {
        let compute = &self.computes[&job.record.compute_type];
        let machine = match &reached.machine {
            Some(machine) => Some(machine.clone()),
            // The request may have come through although no answer did.
            None => compute.find(job.intent).await.map_err(|error| chain(&error))?,
        };
        let Some(machine) = machine else { return Ok(false) };
        compute.destroy(&machine).await.map_err(|error| chain(&error))?;
        Ok(true)
    }
}

/// Asks for a machine's key to be taken in.
pub(super) fn admission(
    job: &MachineJob,
    name: &Name,
    node: NodeId,
    endpoints: Vec<SocketAddr>,
) -> AdmitRequest {
    AdmitRequest {
        node,
        name: name.clone(),
        role: Role::Full,
        endpoints,
        intent: (job.origin == Origin::Backend).then_some(job.intent),
    }
}

/// Has the cluster take a machine's key in.
pub(super) async fn admit(door: &dyn Door, request: AdmitRequest) -> Result<Bootstrap, Failure> {
    let admitted = door.admit(request).await;
    admitted.map_err(|error| Failure::at("enter the cluster", chain(&error)))
}
