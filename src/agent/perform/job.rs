//! One machine's share of a plan, and what became of it.

use std::time::Duration;

use serde::Serialize;

use crate::model::action::Action;
use crate::model::action::Plan;
use crate::model::destination::Destination;
use crate::model::identity::NodeId;
use crate::model::label::Labels;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::machine::MachineRecords;
use crate::model::name::Name;
use crate::model::time::Timestamp;
use crate::reconcile::world::ADOPTED;

/// A machine to make or to take over.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // Each says one thing that holds or not, in any mixture.
pub struct MachineJob {
    /// The wish.
    pub intent: IntentId,
    /// What is written into the document about it.
    pub record: MachineRecord,
    /// Whether the user chose its name; else it is called as its host is.
    pub is_named: bool,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether its wish stands in the document, and is somebody else's to withdraw.
    pub is_wished: bool,
    /// Whether provisioning runs.
    pub provision: bool,
    /// Whether it joins.
    pub join: bool,
}

/// Where a machine comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// The back-end of its compute type makes it.
    Backend,
    /// It is there already.
    Host {
        /// Where.
        destination: Destination,
        /// The host to go through.
        via: Option<Destination>,
    },
}

impl MachineJob {
    /// The SSH host keys that the cluster recorded of it.
    #[must_use]
    pub fn host_keys(&self) -> &[String] {
        match &self.record.access {
            Some(Access::Ssh { host_keys, .. }) => host_keys,
            _ => &[],
        }
    }

    /// What the machine is called while work on it goes on.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.origin {
            Origin::Host { destination, .. } if !self.is_named => destination.to_string(),
            _ => self.record.name.to_string(),
        }
    }
}

/// The jobs of a plan: each `Create` with the `Slave` of the same wish, and the other `Slave`s.
/// `known` are the machines of the cluster: their SSH host keys hold.
#[must_use]
pub fn machine_jobs(plan: &Plan, known: &MachineRecords, now: Timestamp) -> Vec<MachineJob> {
    let jobs = plan.steps.iter().filter_map(|step| machine_job(plan, &step.action, now));
    let mut jobs: Vec<MachineJob> = jobs.collect();
    for job in &mut jobs {
        let record = known.get(&job.intent).and_then(|record| record.access.as_ref());
        if let (Some(Access::Ssh { host_keys, .. }), Some(Access::Ssh { host_keys: known, .. })) =
            (&mut job.record.access, record)
        {
            host_keys.clone_from(known);
        }
    }
    jobs
}

fn machine_job(plan: &Plan, action: &Action, now: Timestamp) -> Option<MachineJob> {
    match action {
        Action::Create { intent, name, compute_type, server_type, labels, ttl_ms } => {
            let slaved = plan.steps.iter().find_map(|step| match step.action {
                Action::Slave { intent: of, provision, join, .. } if of == *intent => {
                    Some((provision, join))
                }
                _ => None,
            });
            let (provision, join) = slaved.unwrap_or((false, false));
            let mut record = record(name, compute_type, server_type, labels, now, join);
            record.upkeep.expires_at = ttl_ms.map(|ttl| now.after(Duration::from_millis(ttl)));
            let origin = Origin::Backend;
            Some(MachineJob {
                intent: *intent,
                record,
                is_named: true,
                origin,
                is_wished: false,
                provision,
                join,
            })
        }
        Action::Slave {
            intent,
            name,
            destination: Some(destination),
            via,
            server_type,
            labels,
            provision,
            join,
        } => {
            let called = name.clone().unwrap_or_else(|| Name::from_hostname(&destination.host));
            let mut record = record(&called, ADOPTED, server_type, labels, now, *join);
            record.access = Some(Access::Ssh {
                destination: destination.clone(),
                via: via.clone(),
                identity_file: None,
                host_keys: Vec::new(),
            });
            Some(MachineJob {
                intent: *intent,
                record,
                is_named: name.is_some(),
                origin: Origin::Host { destination: destination.clone(), via: via.clone() },
                is_wished: false,
                provision: *provision,
                join: *join,
            })
        }
        _ => None,
    }
}

fn record(
    name: &Name,
    compute_type: &str,
    server_type: &str,
    labels: &Labels,
    now: Timestamp,
    join: bool,
) -> MachineRecord {
    let mut record = MachineRecord {
        name: name.clone(),
        compute_type: compute_type.to_owned(),
        server_type: server_type.to_owned(),
        labels: labels.clone(),
        created_at: now,
        machine: None,
        access: None,
        node: None,
        upkeep: crate::model::upkeep::Upkeep::default(),
        rest: serde_json::Map::default(),
    };
    if !join {
        record.set_meant_to_join(false);
    }
    record
}

/// What became of one machine.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Its name, or where it was looked for.
    pub machine: String,
    /// The wish it fulfils, when there is one.
    pub intent: Option<IntentId>,
    /// Whether it was there before, and a back-end did not make it.
    pub is_adopted: bool,
    /// Its key, when it joined.
    pub node: Option<NodeId>,
    /// How to get onto it, when that is known.
    pub access: Option<Access>,
    /// How long it took.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
    /// What was done, or that nothing had to be: `joined`, `repaired`, `destroyed`.
    pub summary: String,
    /// Why it failed.
    pub failure: Option<Failure>,
}

fn millis<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}

/// Why one machine failed: for people and for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// At which step.
    pub step: String,
    /// Why.
    pub cause: String,
    /// The command that failed, when one did.
    pub command: Option<String>,
    /// Its exit status.
    pub exit_status: Option<i32>,
    /// The last lines it wrote.
    pub last_lines: Vec<String>,
    /// What was put back.
    pub undone: Vec<String>,
    /// What could not be put back.
    pub left: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

/// The step of a [`Failure`] that the user's Ctrl-C caused.
pub const INTERRUPTED: &str = "interrupted";

impl Failure {
    /// A failure of which nothing but step and cause is known.
    #[must_use]
    pub fn at(step: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            step: step.into(),
            cause: cause.into(),
            command: None,
            exit_status: None,
            last_lines: Vec::new(),
            undone: Vec::new(),
            left: Vec::new(),
            hint: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        self
    }
}
