//! Doing one step of a plan. No choices are made here.

use std::path::Path as FilePath;
use std::sync::Arc;

use tokio::sync::watch;

use crate::agent::api::DocumentChange;
use crate::agent::api::WriteRequest;
use crate::agent::error::chain;
use crate::agent::perform::door::Door;
use crate::agent::perform::door::DoorError;
use crate::agent::perform::door::Doors;
use crate::agent::perform::job::Failure;
use crate::agent::perform::job::MachineJob;
use crate::agent::perform::job::Origin;
use crate::agent::perform::local;
use crate::agent::perform::settings::Parts;
use crate::agent::perform::settings::PerformSettings;
use crate::agent::perform::settings::Performer;
use crate::agent::reconcile::telling::Turns;
use crate::compute::Secrets;
use crate::config::home::Home;
use crate::config::module::Modules;
use crate::config::path::Path;
use crate::config::schema::Config;
use crate::model::cluster::Genesis;
use crate::model::hook::Event;
use crate::model::identity::NodeId;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineRecord;
use crate::model::machine::MachineSpec;
use crate::model::name::Name;
use crate::model::progress::Silent;
use crate::reconcile::fleet::executor::Outcome;
use crate::reconcile::fleet::executor::Step;
use crate::reconcile::fleet::write::Edits;

/// This very program, also when its file has been replaced since it was started.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What came of a step.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    /// What a back-end listed when it was asked.
    pub(super) listed: Option<(String, Vec<Machine>)>,
    /// The machine that was given back.
    pub(super) gone: Option<IntentId>,
}

/// The hands of one agent. Cheap to clone.
#[derive(Clone)]
pub(super) struct Hands {
    performer: Performer,
    pub(super) genesis: Genesis,
    pub(super) door: Arc<dyn Door>,
    /// The home of this very agent.
    pub(super) own: Home,
    pub(super) turns: Arc<Turns>,
}

impl Hands {
    #[allow(clippy::too_many_arguments)] // Each is one thing the work needs, and given once.
    pub(super) fn new(
        home: &Home,
        own: &Home,
        genesis: Genesis,
        me: NodeId,
        config: Config,
        modules: Modules,
        doors: Arc<dyn Doors>,
        door: Arc<dyn Door>,
        secrets: Secrets,
        turns: Arc<Turns>,
        interrupt: watch::Receiver<bool>,
    ) -> Self {
        let settings = PerformSettings {
            concurrent: usize::from(config.spawn.concurrent),
            identity_file: None,
            sudo_password: None,
            force: false,
            binary: OWN_PROGRAM.into(),
            member: Some(me),
        };
        let performer = Performer::new(Parts {
            home: home.clone(),
            cluster: genesis.name.clone(),
            config,
            modules,
            secrets,
            settings,
            doors,
            progress: Arc::new(Silent),
            interrupt,
        });
        Self { performer, genesis, door, own: own.clone(), turns }
    }

    pub(super) fn performer(&self) -> &Performer {
        &self.performer
    }

    /// Lets the others' machines know this member's SSH key, once it drives a back-end to whose
    /// machines one logs in; whether that is done.
    pub(super) async fn publish_key(&self, compute_type: &str) -> bool {
        let done = self.performer.publish_key(compute_type, self.door.as_ref()).await;
        done.inspect_err(|error| tracing::debug!(cause = error.cause, "{}", error.step)).is_ok()
    }

    pub(super) async fn perform(&self, step: Step) -> Done {
        let (mut listed, mut gone) = (None, None);
        let done = match step {
            Step::Write(edits) => self.write(edits).await,
            Step::Create { intent, record } => self.create(intent, &record).await,
            Step::Enter { intent, record } => self.enter(intent, *record).await,
            Step::Evict { node } => match self.door.evict(node.to_string()).await {
                Err(DoorError::Refused(refusal)) if refusal.code == "not_found" => Ok(()),
                done => done.map_err(|error| chain(&error)),
            },
            Step::Destroy { intent, compute_type } => {
                let destroyed = self.destroy(intent, &compute_type).await;
                gone = destroyed.is_ok().then_some(intent);
                destroyed
            }
            Step::End { name } => self.end(&name),
            Step::Visit { intent, record, answered } => match self.visit(intent, *record).await {
                Ok(()) => self.write(answered).await,
                Err(why) => Err(why),
            },
            Step::List { compute_type } => match self.list(&compute_type).await {
                Ok(machines) => {
                    listed = Some((compute_type, machines));
                    Ok(())
                }
                Err(why) => Err(why),
            },
        };
        let outcome = done.map_or_else(Outcome::Failed, |()| Outcome::Done);
        Done { outcome, listed, gone }
    }

    async fn write(&self, edits: Edits) -> Result<(), String> {
        let mut changes = Vec::with_capacity(edits.edits.len());
        for edit in edits.edits {
            let path = Path::from_keys(edit.path).map_err(|error| chain(&error))?.to_string();
            changes.push(match edit.value {
                Some(value) => DocumentChange::Set { path, value },
                None => DocumentChange::Unset { path },
            });
        }
        let request = WriteRequest { note: edits.note, changes };
        self.door.write(request).await.map_err(|error| chain(&error))
    }

    async fn create(&self, intent: IntentId, record: &MachineRecord) -> Result<(), String> {
        let compute_type = &record.compute_type;
        let compute = self.performer.compute(compute_type).map_err(told)?;
        let keys = self.performer.authorized_keys(compute_type, Some(self.door.as_ref())).await;
        let spec = MachineSpec {
            intent,
            cluster: self.genesis.cluster_id(),
            name: record.name.clone(),
            labels: record.labels.clone(),
            authorized_keys: keys.map_err(told)?,
        };
        let machine = compute.create(&spec).await.map_err(|error| chain(&error))?;
        let record = MachineRecord { access: machine.access, ..record.clone() };
        self.tell(Event::AfterStartInstance, Some((intent, &record)));
        Ok(())
    }

    async fn enter(&self, intent: IntentId, mut record: MachineRecord) -> Result<(), String> {
        let jobs = vec![job(intent, record.clone())];
        let built = self.performer.build(jobs, Some(Arc::clone(&self.door)));
        let built = built.await.map_err(told)?;
        for outcome in built.outcomes {
            if let Some(failure) = outcome.failure {
                return Err(told(failure));
            }
            record.node = outcome.node;
            record.access = outcome.access;
        }
        self.tell(Event::AfterSlave, Some((intent, &record)));
        self.tell(Event::AfterAssimilate, Some((intent, &record)));
        Ok(())
    }

    async fn destroy(&self, intent: IntentId, compute_type: &str) -> Result<(), String> {
        let compute = self.performer.compute(compute_type).map_err(told)?;
        let found = compute.find(intent).await.map_err(|error| chain(&error))?;
        match found.filter(|machine| machine.cluster == self.genesis.cluster_id()) {
            Some(machine) => compute.destroy(&machine).await.map_err(|error| chain(&error)),
            None => Ok(()),
        }
    }

    /// Has a process of its own destroy this machine: what destroys it ends this one.
    fn end(&self, name: &Name) -> Result<(), String> {
        let ended = local::destroy_from_outside(self.performer.home(), &self.own, name);
        ended.map_err(|error| error.to_string())
    }

    async fn list(&self, compute_type: &str) -> Result<Vec<Machine>, String> {
        let compute = self.performer.compute(compute_type).map_err(told)?;
        compute.list(self.genesis.cluster_id()).await.map_err(|error| chain(&error))
    }
}

/// The making of the machine of a wish.
pub(super) fn job(intent: IntentId, record: MachineRecord) -> MachineJob {
    MachineJob {
        intent,
        record,
        is_named: true,
        origin: Origin::Backend,
        is_wished: true,
        provision: true,
        join: true,
    }
}

#[allow(clippy::needless_pass_by_value)] // What `map_err` hands over.
pub(super) fn told(failure: Failure) -> String {
    format!("{}: {}", failure.step, failure.cause)
}

/// The home from which a machine's kin are made: a local machine's own home lies in the folder of
/// all machines of its computer, and so must those of its kin.
pub(super) fn kin_home(home: &Home) -> Home {
    let above = home.root().parent().and_then(FilePath::parent);
    let root = above.and_then(FilePath::parent);
    match root {
        Some(root) if above == Some(Home::new(root).machines_folder().as_path()) => Home::new(root),
        _ => home.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_machines_of_one_computer_lie_side_by_side() {
        assert_eq!(kin_home(&Home::new("/h/machines/abc/local-1")), Home::new("/h"));
        assert_eq!(kin_home(&Home::new("/var/lib/raptor")), Home::new("/var/lib/raptor"));
        assert_eq!(kin_home(&Home::new("/")), Home::new("/"));
    }
}
