//! Giving machines back, and taking members out.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::agent::api::DocumentChange;
use crate::agent::api::WriteRequest;
use crate::agent::clock::wall_clock;
use crate::agent::error::chain;
use crate::agent::perform::build::gone;
use crate::agent::perform::door::Door;
use crate::agent::perform::door::DoorError;
use crate::agent::perform::job::Failure;
use crate::agent::perform::job::Outcome;
use crate::agent::perform::settings::Performer;
use crate::model::action::Action;
use crate::model::action::Plan;
use crate::model::cluster::ClusterId;
use crate::model::identity::NodeId;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::machine::MachineRecords;
use crate::model::name::Name;
use crate::model::time::Timestamp;
use crate::model::upkeep::Tombstone;

/// Why a machine went that is destroyed by hand.
const DESTROYED: &str = "a person destroyed it";

/// One machine's share of a plan that takes machines away.
#[derive(Debug, Clone)]
struct RetireJob {
    name: Name,
    evict: Option<NodeId>,
    destroy: Option<(IntentId, String)>,
    /// What is written down of the machine that is destroyed.
    record: Option<Box<MachineRecord>>,
    /// The record of a machine that was taken over: it goes, the machine stays.
    forget: Option<IntentId>,
}

impl RetireJob {
    fn summary(&self) -> &'static str {
        if self.destroy.is_some() { "destroyed" } else { "evicted" }
    }

    fn outcome(&self, took: Duration, result: Result<(), Failure>) -> Outcome {
        Outcome {
            machine: self.name.to_string(),
            intent: self.destroy.as_ref().map(|(intent, _)| *intent),
            node: self.evict,
            is_adopted: self.destroy.is_none(),
            access: None,
            took,
            summary: if result.is_ok() { self.summary() } else { "failed" }.to_owned(),
            failure: result.err(),
        }
    }

    /// What remains in the document of the machine of `compute_type` that was destroyed at `now`. With
    /// the rule it served and the time it was wished for: those are what is counted.
    fn tombstone(&self, compute_type: &str, now: Timestamp) -> Tombstone {
        if let Some(record) = &self.record {
            return record.tombstone(now, DESTROYED, false);
        }
        Tombstone {
            name: self.name.clone(),
            compute_type: compute_type.to_owned(),
            rule: None,
            created_at: now,
            at: now,
            reason: DESTROYED.to_owned(),
            failed: false,
            rest: serde_json::Map::new(),
        }
    }

    /// The machine behind the door stays: it holds the records of those that failed.
    fn spared(&self) -> Outcome {
        let why = "it holds the records of the machines that failed";
        let failure = Failure::at("destroy it last", why)
            .with_hint("`raptor destroy` again once the cause is mended");
        self.outcome(Duration::ZERO, Err(failure))
    }

    /// Whether both are shares of one machine: of one name, and nothing told twice.
    fn is_completed_by(&self, other: &Self) -> bool {
        self.name == other.name
            && !(self.evict.is_some() && other.evict.is_some())
            && !(self.destroy.is_some() && other.destroy.is_some())
            && !(self.forget.is_some() && other.forget.is_some())
    }
}

impl Performer {
    /// Performs the `Evict`, `Destroy` and `Forget` steps of a plan about `known` machines, side by
    /// side, the `executor` behind the `door` last.
    pub async fn retire(
        &self,
        plan: &Plan,
        known: &MachineRecords,
        cluster: ClusterId,
        executor: Option<NodeId>,
        door: Option<Arc<dyn Door>>,
    ) -> Vec<Outcome> {
        let is_executor = |job: &RetireJob| executor.is_some() && job.evict == executor;
        let (last, first): (Vec<_>, Vec<_>) =
            retire_jobs(plan, known).into_iter().partition(is_executor);
        let mut outcomes = self.retire_together(first, cluster, door.as_ref()).await;
        // The machine behind the door takes the document with it when it is destroyed: nothing
        // needs to be written into that. One that stays is told that it is out.
        let some_failed = outcomes.iter().any(|outcome| outcome.failure.is_some());
        for job in last {
            if some_failed && job.destroy.is_some() {
                outcomes.push(job.spared());
                continue;
            }
            let door = door.as_ref().filter(|_| job.destroy.is_none());
            outcomes.extend(self.retire_together(vec![job], cluster, door).await);
        }
        outcomes
    }

    async fn retire_together(
        &self,
        jobs: Vec<RetireJob>,
        cluster: ClusterId,
        door: Option<&Arc<dyn Door>>,
    ) -> Vec<Outcome> {
        let permits = Arc::new(Semaphore::new(self.settings().concurrent.max(1)));
        let mut tasks = JoinSet::new();
        for (index, job) in jobs.into_iter().enumerate() {
            let (performer, door) = (self.clone(), door.cloned());
            let permits = Arc::clone(&permits);
            tasks.spawn(async move {
                let _permit = permits.acquire().await.ok();
                (index, performer.retire_one(job, cluster, door).await)
            });
        }
        let mut outcomes = Vec::new();
        while let Some(joined) = tasks.join_next().await {
            match joined {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => tracing::error!(%error, "a task was lost"),
            }
        }
        outcomes.sort_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    async fn retire_one(
        &self,
        job: RetireJob,
        cluster: ClusterId,
        door: Option<Arc<dyn Door>>,
    ) -> Outcome {
        let started = Instant::now();
        let name = job.name.to_string();
        let result = if *self.is_interrupted().borrow() {
            Err(Failure::at("interrupted", "you asked to stop; it was not begun"))
        } else {
            self.take_away(&job, cluster, door).await
        };
        match &result {
            Ok(()) => self.progress().done(&name, job.summary()),
            Err(failure) => {
                self.progress().failed(&name, &format!("{}: {}", failure.step, failure.cause));
            }
        }
        job.outcome(started.elapsed(), result)
    }

    async fn take_away(
        &self,
        job: &RetireJob,
        cluster: ClusterId,
        door: Option<Arc<dyn Door>>,
    ) -> Result<(), Failure> {
        let name = job.name.as_str();
        if let (Some(node), Some(door)) = (job.evict, &door) {
            self.progress().stage(name, "taking its key out of the cluster");
            match door.evict(node.to_string()).await {
                Ok(()) => {}
                // A cluster that is gone has no key to take out.
                Err(DoorError::Unreachable(_)) if job.destroy.is_some() => {}
                Err(DoorError::Refused(refusal)) if refusal.code == "not_found" => {}
                Err(error) => return Err(Failure::at("evict it", chain(&error))),
            }
        }
        if let (Some(intent), Some(door)) = (job.forget, &door) {
            let changes = vec![DocumentChange::Unset { path: format!("machines.{intent}") }];
            write_off(door.as_ref(), name, changes).await?;
        }
        let Some((intent, compute_type)) = &job.destroy else { return Ok(()) };
        self.progress().stage(name, &format!("destroying it on {compute_type}"));
        let compute = self.compute(compute_type)?;
        let failed = |error| {
            Failure::at("destroy it", chain(&error))
                .with_hint("`raptor destroy` again tries again: its record is kept")
        };
        if let Some(machine) = compute.find(*intent).await.map_err(failed)? {
            if machine.cluster != cluster {
                let why = format!("it belongs to cluster {}, not to this one", machine.cluster);
                return Err(Failure::at("destroy it", why));
            }
            compute.destroy(&machine).await.map_err(failed)?;
        }
        match door {
            Some(door) => {
                let tombstone = job.tombstone(compute_type, wall_clock());
                write_off(door.as_ref(), name, gone(*intent, &tombstone)).await
            }
            None => Ok(()),
        }
    }
}

/// Takes a machine's record out of the document. A cluster that is gone has none.
async fn write_off(
    door: &dyn Door,
    name: &str,
    changes: Vec<DocumentChange>,
) -> Result<(), Failure> {
    let note = format!("machine {name} is gone");
    match door.write(WriteRequest { note, changes }).await {
        Ok(()) | Err(DoorError::Unreachable(_)) => Ok(()),
        Err(error) => Err(Failure::at("forget its record", chain(&error))),
    }
}

fn retire_jobs(plan: &Plan, known: &MachineRecords) -> Vec<RetireJob> {
    let mut jobs: Vec<RetireJob> = Vec::new();
    for step in &plan.steps {
        let (name, evict, destroy, forget) = match &step.action {
            Action::Evict { node, name } => (name, Some(*node), None, None),
            Action::Destroy { intent, name, compute_type } => {
                (name, None, Some((*intent, compute_type.clone())), None)
            }
            Action::Forget { intent, name } => (name, None, None, Some(*intent)),
            _ => continue,
        };
        let record = destroy.as_ref().and_then(|(intent, _)| known.get(intent));
        let record = record.cloned().map(Box::new);
        let share = RetireJob { name: name.clone(), evict, destroy, record, forget };
        match jobs.iter_mut().find(|job| job.is_completed_by(&share)) {
            Some(job) => {
                job.evict = job.evict.or(share.evict);
                job.destroy = job.destroy.take().or(share.destroy);
                job.record = job.record.take().or(share.record);
                job.forget = job.forget.or(share.forget);
            }
            None => jobs.push(share),
        }
    }
    jobs
}

#[cfg(test)]
mod tests;
