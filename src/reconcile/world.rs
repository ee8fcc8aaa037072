//! What is known when a plan is made.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::action::Action;
use crate::model::action::Plan;
use crate::model::identity::NodeId;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::machine::MachineRecords;
use crate::model::member::Status;
use crate::model::name::Name;

/// Compute type of machines that no back-end of ours made.
pub const ADOPTED: &str = "adopted";

/// A member that the document names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownMember {
    /// Its name.
    pub name: Name,
    /// How it is seen.
    pub status: Status,
    /// For how long it has been seen so; none when that is not known and long enough anyway.
    pub status_for: Option<Duration>,
}

/// The document's machines and members, and how the members are seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// Whether there is a cluster already.
    pub is_founded: bool,
    /// The machines that were wished for.
    pub machines: MachineRecords,
    /// The members.
    pub members: BTreeMap<NodeId, KnownMember>,
    /// The member that carries plans out; it goes last when it goes at all.
    pub executor: Option<NodeId>,
}

/// Something that has a name: a machine, a member, or mostly both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub name: Name,
    /// The wish that made it, when the document has one.
    pub intent: Option<IntentId>,
    /// The member on it, when there is one.
    pub node: Option<NodeId>,
}

impl World {
    /// Every machine and every member, each once, by name; the executor last.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        let mut subjects = Vec::new();
        let mut paired = BTreeSet::new();
        for (intent, record) in &self.machines {
            let node = record.node.filter(|node| self.members.contains_key(node));
            paired.extend(node);
            subjects.push(Subject { name: record.name.clone(), intent: Some(*intent), node });
        }
        for (node, member) in self.members.iter().filter(|(node, _)| !paired.contains(node)) {
            subjects.push(Subject { name: member.name.clone(), intent: None, node: Some(*node) });
        }
        subjects.sort_by_key(|subject| {
            let is_executor = subject.node.is_some() && subject.node == self.executor;
            (is_executor, subject.name.clone())
        });
        subjects
    }

    /// The names that are in use.
    pub(super) fn names(&self) -> BTreeSet<Name> {
        let machines = self.machines.values().map(|record| record.name.clone());
        machines.chain(self.members.values().map(|member| member.name.clone())).collect()
    }

    /// The record behind a subject.
    pub(super) fn record(&self, subject: &Subject) -> Option<(IntentId, &MachineRecord)> {
        let intent = subject.intent?;
        self.machines.get(&intent).map(|record| (intent, record))
    }

    /// Takes everything of a subject away: its membership, then its machine. A machine that was
    /// taken over is not ours to destroy: only its record goes.
    pub(super) fn retire(&self, plan: &mut Plan, subject: &Subject, reason: &str) {
        let name = &subject.name;
        if let Some(node) = subject.node {
            plan.push(Action::Evict { node, name: name.clone() }, reason);
        }
        match self.record(subject) {
            Some((intent, record)) if record.compute_type == ADOPTED => plan.push(
                Action::Forget { intent, name: name.clone() },
                format!("{reason}; the machine was taken over, so it stays"),
            ),
            Some((intent, record)) => {
                let compute_type = record.compute_type.clone();
                plan.push(Action::Destroy { intent, name: name.clone(), compute_type }, reason);
            }
            None => {}
        }
    }
}
