//! Building machines side by side: each wish is written down first; one machine founds the cluster
//! where there is none.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::agent::api::DocumentChange;
use crate::agent::api::WriteRequest;
use crate::agent::error::chain;
use crate::agent::perform::crowd::Crowd;
use crate::agent::perform::door::Door;
use crate::agent::perform::entrance::Entrance;
use crate::agent::perform::founding::Founding;
use crate::agent::perform::job::Failure;
use crate::agent::perform::job::MachineJob;
use crate::agent::perform::job::Origin;
use crate::agent::perform::job::Outcome;
use crate::agent::perform::settings::Performer;
use crate::agent::recovery;
use crate::compute::Compute;
use crate::model::cluster::ClusterId;
use crate::model::cluster::Genesis;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::member::Member;
use crate::model::upkeep::Tombstone;

/// What a build left: an outcome a machine, and what the cluster then says of itself.
pub struct Built {
    /// In the order of the jobs.
    pub outcomes: Vec<Outcome>,
    /// What it said of itself afterwards, to whoever is no member of it.
    pub genesis: Option<Genesis>,
    /// Its members then, where they could be asked for.
    pub members: Option<Vec<Member>>,
}

/// What the tasks of one build share.
pub(super) struct Site {
    pub(super) performer: Performer,
    /// Known unless machines are only provisioned and there is no cluster.
    pub(super) cluster_id: ClusterId,
    pub(super) founding: Option<Founding>,
    pub(super) computes: BTreeMap<String, Arc<dyn Compute>>,
    pub(super) entrance: Entrance,
    pub(super) permits: Arc<Semaphore>,
    pub(super) crowd: Crowd,
}

impl Performer {
    /// Makes or takes over the machines of `jobs`. Without a `door` the first of them founds the
    /// cluster.
    ///
    /// # Errors
    /// When the wishes cannot be written down or a back-end does not exist; nothing is done then.
    pub async fn build(
        &self,
        mut jobs: Vec<MachineJob>,
        door: Option<Arc<dyn Door>>,
    ) -> Result<Built, Failure> {
        let computes = self.computes(&jobs)?;
        set_scopes(&mut jobs, &computes).await;
        let (cluster_id, founding, makes_key) = if let Some(door) = &door {
            (cluster_of(door.as_ref()).await?, None, false)
        } else {
            let (founding, makes_key) = self.begin_founding(&jobs)?;
            (founding.cluster_id(), Some(founding), makes_key)
        };
        if let Some(door) = &door {
            write_wishes(door.as_ref(), &jobs).await?;
        }
        let founder = founding.as_ref().and_then(|founding| reserved_founder(founding, &jobs));
        let site = Arc::new(Site {
            performer: self.clone(),
            cluster_id,
            founding,
            computes,
            entrance: Entrance::new(door),
            permits: Arc::new(Semaphore::new(self.settings().concurrent.max(1))),
            crowd: Crowd::default(),
        });
        if founder.is_some() {
            site.entrance.claim();
        }
        let outcomes = run_all(&site, jobs, founder).await;
        let door = site.entrance.door();
        // A member has done so when it told what it can drive.
        let (mut genesis, mut members) = (None, None);
        if let (Some(door), None) = (&door, self.settings().member) {
            let told = tokio::join!(self.publish(&site, door), door.genesis(), door.members());
            (genesis, members) = (told.1.ok(), told.2.ok());
        }
        // What could not be put back is still to be found by its wish.
        let is_clean = |outcome: &Outcome| {
            outcome.failure.as_ref().is_some_and(|failure| failure.left.is_empty())
        };
        if door.is_some() || outcomes.iter().all(is_clean) {
            Founding::forget(self.home(), self.cluster());
            // One that was there before may open backups.
            if door.is_none() && makes_key {
                recovery::forget(self.home(), cluster_id);
            }
        }
        Ok(Built { outcomes, genesis, members })
    }

    /// Tells the members what they need of this computer's: a failure only takes that from them.
    async fn publish(&self, site: &Site, door: &Arc<dyn Door>) {
        if let Err(error) = self.publish_proof(site.cluster_id, door.as_ref()).await {
            tracing::warn!(cause = error.cause, "members cannot prove that backups are theirs");
        }
        for compute_type in site.computes.keys() {
            if let Err(error) = self.publish_key(compute_type, door.as_ref()).await {
                tracing::warn!(
                    cause = error.cause,
                    "others cannot log in to what is made from here"
                );
            }
        }
    }

    fn computes(&self, jobs: &[MachineJob]) -> Result<BTreeMap<String, Arc<dyn Compute>>, Failure> {
        let mut computes = BTreeMap::new();
        for job in jobs.iter().filter(|job| job.origin == Origin::Backend) {
            let name = &job.record.compute_type;
            if !computes.contains_key(name) {
                computes.insert(name.clone(), self.compute(name)?);
            }
        }
        Ok(computes)
    }

    /// Writes the wishes down beside the home, or takes up an interrupted founding. Also whether a
    /// recovery key was made for it.
    fn begin_founding(&self, jobs: &[MachineJob]) -> Result<(Founding, bool), Failure> {
        let failed = |error| Failure::at("write the wish for the machines down", chain(&error));
        let earlier = Founding::load(self.home(), self.cluster()).map_err(failed)?;
        let mut founding = match earlier {
            Some(earlier) => earlier,
            None => Founding::new(self.cluster().clone()).map_err(failed)?,
        };
        founding.machines.extend(wished(jobs).map(|job| (job.intent, job.record.clone())));
        let save = |founding: &Founding| {
            founding.save(self.home()).map_err(|error| {
                failed(error).with_hint("another home folder is named with --home DIR")
            })
        };
        save(&founding)?;
        let makes_key = !self.home().recovery_file(founding.cluster_id()).exists();
        let recovery = recovery::ensure(self.home(), founding.cluster_id(), self.cluster());
        let recovery =
            recovery.map_err(|error| Failure::at("make the recovery key", chain(&error)))?;
        founding.recovery = Some(recovery.to_string());
        save(&founding)?;
        Ok((founding, makes_key))
    }
}

/// Says of each machine to be made from where it will be seen.
async fn set_scopes(jobs: &mut [MachineJob], computes: &BTreeMap<String, Arc<dyn Compute>>) {
    for (name, compute) in computes {
        let mut made = jobs.iter_mut().filter(|job| {
            job.record.compute_type == *name
                && job.origin == Origin::Backend
                && job.record.upkeep.scope.is_none()
        });
        let Some(first) = made.next() else { continue };
        // One that cannot say fails soon enough.
        let Ok(scope) = compute.scope().await else { continue };
        for job in std::iter::once(first).chain(made) {
            job.record.upkeep.scope = Some(scope.clone());
        }
    }
}

/// The machine that founds the cluster whatever the others do: who was about to found it before; of
/// machines that were there already the first one named, which is the same when the command is given
/// again. Of new machines it is the first that is ready: the others wait for nobody slower.
fn reserved_founder(founding: &Founding, jobs: &[MachineJob]) -> Option<usize> {
    let mut joining = jobs.iter().filter(|job| job.join);
    if founding.founder.is_none() && joining.all(|job| job.origin == Origin::Backend) {
        return None;
    }
    let earlier = jobs.iter().position(|job| job.join && founding.founder == Some(job.intent));
    earlier.or_else(|| jobs.iter().position(|job| job.join))
}

async fn run_all(site: &Arc<Site>, jobs: Vec<MachineJob>, founder: Option<usize>) -> Vec<Outcome> {
    // The others wait for the founder, so it must not wait for a permit behind them.
    let mut first = founder.and_then(|_| Arc::clone(&site.permits).try_acquire_owned().ok());
    let mut tasks = JoinSet::new();
    for (index, job) in jobs.into_iter().enumerate() {
        let site = Arc::clone(site);
        let is_founder = founder == Some(index);
        let permit = first.take_if(|_| is_founder);
        let mut turn = site.crowd.enter();
        turn.permit = permit;
        tasks.spawn(async move { (index, site.run(job, is_founder, turn).await) });
    }
    let mut outcomes: Vec<(usize, Outcome)> = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => {
                tracing::error!(%error, "a task of the build was lost");
                site.entrance.close("the work on another machine was lost");
            }
        }
    }
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

async fn cluster_of(door: &dyn Door) -> Result<ClusterId, Failure> {
    let document =
        door.document().await.map_err(|error| Failure::at("ask the cluster", chain(&error)))?;
    document
        .pointer("/cluster/id")
        .and_then(|id| id.as_str()?.parse().ok())
        .ok_or_else(|| Failure::at("ask the cluster", "its document names no cluster id"))
}

/// Jobs whose wish must be known before anything is asked for. A machine that is there already
/// cannot be lost; its record is written once its name is known.
fn wished(jobs: &[MachineJob]) -> impl Iterator<Item = &MachineJob> {
    jobs.iter().filter(|job| job.origin == Origin::Backend && !job.is_wished)
}

/// The change that writes a wish down.
pub(super) fn wish(intent: IntentId, record: &MachineRecord) -> DocumentChange {
    DocumentChange::Set { path: format!("machines.{intent}"), value: json!(record) }
}

/// What is written about a machine that is there. Of one that was wished for, only what is new: what
/// somebody else has written about it meanwhile stands.
pub(super) fn arrival(job: &MachineJob, record: &MachineRecord) -> Vec<DocumentChange> {
    if job.origin != Origin::Backend {
        return vec![wish(job.intent, record)];
    }
    let set = |key: &str, value| DocumentChange::Set {
        path: format!("machines.{}.{key}", job.intent),
        value,
    };
    vec![
        set("name", json!(record.name)),
        set("node", json!(record.node)),
        set("machine", json!(record.machine)),
        set("access", json!(record.access)),
    ]
}

/// The changes that take a machine out and keep it out.
pub(super) fn gone(intent: IntentId, tombstone: &Tombstone) -> Vec<DocumentChange> {
    vec![
        DocumentChange::Set { path: format!("retired.{intent}"), value: json!(tombstone) },
        DocumentChange::Unset { path: format!("machines.{intent}") },
    ]
}

async fn write_wishes(door: &dyn Door, jobs: &[MachineJob]) -> Result<(), Failure> {
    let changes: Vec<DocumentChange> =
        wished(jobs).map(|job| wish(job.intent, &job.record)).collect();
    if changes.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = wished(jobs).map(|job| job.record.name.as_str()).collect();
    write(door, &format!("wish for {}", names.join(", ")), changes).await
}

/// Changes the document.
pub(super) async fn write(
    door: &dyn Door,
    note: &str,
    changes: Vec<DocumentChange>,
) -> Result<(), Failure> {
    let request = WriteRequest { note: note.to_owned(), changes };
    door.write(request).await.map_err(|error| Failure::at("write it down", chain(&error)))
}
