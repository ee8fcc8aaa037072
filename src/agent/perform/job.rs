//! One machine's share of a plan, and what became of it.

use std::time::Duration;

use serde::Serialize;

use crate::model::action::Action;
use crate::model::action::Plan;
use crate::model::identity::NodeId;
use crate::model::label::Labels;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::name::Name;
use crate::model::time::Timestamp;

/// A machine to make.
#[derive(Debug, Clone, PartialEq)]
pub struct SpawnJob {
    /// The wish.
    pub intent: IntentId,
    /// What is written into the document about it.
    pub record: MachineRecord,
    /// Whether provisioning runs.
    pub provision: bool,
    /// Whether it joins.
    pub join: bool,
}

/// The jobs of a plan: each `Create` with the `Slave` of the same wish.
#[must_use]
pub fn spawn_jobs(plan: &Plan, now: Timestamp) -> Vec<SpawnJob> {
    let created = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Create { intent, name, compute_type, server_type, labels } => {
            Some((*intent, record(name, compute_type, server_type, labels, now)))
        }
        _ => None,
    });
    created
        .map(|(intent, record)| {
            let slaved = plan.steps.iter().find_map(|step| match step.action {
                Action::Slave { intent: of, provision, join, .. } if of == intent => {
                    Some((provision, join))
                }
                _ => None,
            });
            let (provision, join) = slaved.unwrap_or((false, false));
            SpawnJob { intent, record, provision, join }
        })
        .collect()
}

fn record(
    name: &Name,
    compute_type: &str,
    server_type: &str,
    labels: &Labels,
    now: Timestamp,
) -> MachineRecord {
    MachineRecord {
        name: name.clone(),
        compute_type: compute_type.to_owned(),
        server_type: server_type.to_owned(),
        labels: labels.clone(),
        created_at: now,
        machine: None,
        access: None,
        node: None,
        rest: serde_json::Map::default(),
    }
}

/// What became of one machine.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Its name, or where it was looked for.
    pub machine: String,
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
    /// What to do next.
    pub hint: Option<String>,
}

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
            hint: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
