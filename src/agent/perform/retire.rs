//! Giving machines back, and taking members out.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::agent::api::DocumentChange;
use crate::agent::api::WriteRequest;
use crate::agent::error::chain;
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
use crate::model::name::Name;

/// One machine's share of a plan that takes machines away.
#[derive(Debug, Clone)]
struct RetireJob {
    name: Name,
    evict: Option<NodeId>,
    destroy: Option<(IntentId, String)>,
}

impl Performer {
    /// Performs the `Evict` and `Destroy` steps of a plan, machines side by side. The cluster's
    /// `door` may be gone already, as when its last machine is destroyed.
    pub async fn retire(
        &self,
        plan: &Plan,
        cluster: ClusterId,
        door: Option<Arc<dyn Door>>,
    ) -> Vec<Outcome> {
        let permits = Arc::new(Semaphore::new(self.settings().concurrent));
        let jobs = retire_jobs(plan);
        // With the last machine the document goes, too: nothing needs to be written into it.
        let mut tasks = JoinSet::new();
        for (index, job) in jobs.into_iter().enumerate() {
            let (performer, door, permits) = (self.clone(), door.clone(), Arc::clone(&permits));
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
        let result = self.take_away(&job, cluster, door).await;
        let summary = if job.destroy.is_some() { "destroyed" } else { "evicted" };
        match &result {
            Ok(()) => self.progress().done(&name, summary),
            Err(failure) => {
                self.progress().failed(&name, &format!("{}: {}", failure.step, failure.cause));
            }
        }
        Outcome {
            machine: name,
            node: job.evict,
            access: None,
            took: started.elapsed(),
            summary: if result.is_ok() { summary } else { "failed" }.to_owned(),
            failure: result.err(),
        }
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
                // A cluster that is gone has no key to take out.
                Ok(_) | Err(DoorError::Unreachable(_)) => {}
                Err(DoorError::Refused(refusal)) if refusal.code == "not_found" => {}
                Err(error) => return Err(Failure::at("evict it", chain(&error))),
            }
        }
        let Some((intent, compute_type)) = &job.destroy else { return Ok(()) };
        self.progress().stage(name, &format!("destroying it on {compute_type}"));
        let compute = self.compute(compute_type)?;
        let failed = |error| {
            Failure::at("destroy it", chain(&error))
                .with_hint("`raptor destroy` again tries again: its record is kept")
        };
        if let Some(machine) = compute.find(*intent).await.map_err(failed)? {
            if machine.cluster == cluster {
                compute.destroy(&machine).await.map_err(failed)?;
            }
        }
        if let Some(door) = door {
            let change = DocumentChange::Unset { path: format!("machines.{intent}") };
            let note = format!("machine {name} was destroyed");
            match door.write(WriteRequest { note, changes: vec![change] }).await {
                Ok(()) | Err(DoorError::Unreachable(_)) => {}
                Err(error) => return Err(Failure::at("forget its record", chain(&error))),
            }
        }
        Ok(())
    }
}

fn retire_jobs(plan: &Plan) -> Vec<RetireJob> {
    let mut jobs: Vec<RetireJob> = Vec::new();
    for step in &plan.steps {
        let (name, evict, destroy) = match &step.action {
            Action::Evict { node, name } => (name, Some(*node), None),
            Action::Destroy { intent, name, compute_type } => {
                (name, None, Some((*intent, compute_type.clone())))
            }
            _ => continue,
        };
        match jobs.iter_mut().find(|job| job.name == *name) {
            Some(job) => {
                job.evict = job.evict.or(evict);
                job.destroy = job.destroy.take().or(destroy);
            }
            None => jobs.push(RetireJob { name: name.clone(), evict, destroy }),
        }
    }
    jobs
}
