//! Every machine and every member, each once, and how it stands.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::identity::NodeId;
use crate::model::label::Labels;
use crate::model::label::Selectable;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::member::Status;
use crate::model::name::Name;
use crate::model::time::Timestamp;
use crate::reconcile::fleet::view::FleetView;
use crate::reconcile::fleet::view::SeenMember;
use crate::reconcile::world::ADOPTED;

/// How a machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its member answers.
    Alive,
    /// Its member did not answer, and may still.
    Suspect,
    /// Its member is failed, and not for long enough to be given up.
    Unsure {
        /// How long until it is.
        left: Duration,
        /// Whether its agent answered when somebody went and looked.
        answers: bool,
    },
    /// Its member is given up, or suspected while its machine stands still.
    Dead,
    /// It is being made.
    Coming,
    /// It was wished for and nobody makes it.
    Stale,
    /// It is to go.
    Going,
    /// No affair of the rules: never meant to be a member, or put out by a person.
    Apart,
}

/// How long an answer at a visit counts.
const ANSWER_HOLDS: Duration = Duration::from_secs(60);

/// How long a failed member is visited: one that answers and reaches nobody is given up then.
pub(super) const VISITS_LAST: Duration = Duration::from_secs(600);

/// A machine, a member, or mostly both.
#[derive(Debug, Clone)]
pub(super) struct Unit<'v> {
    pub(super) name: &'v Name,
    pub(super) intent: Option<IntentId>,
    pub(super) record: Option<&'v MachineRecord>,
    pub(super) node: Option<NodeId>,
    pub(super) member: Option<&'v SeenMember>,
    pub(super) born_at: Timestamp,
    pub(super) state: State,
}

impl<'v> Unit<'v> {
    /// The record and its wish, when a back-end of ours made the machine.
    pub(super) fn ours(&self) -> Option<(IntentId, &'v MachineRecord)> {
        let record = self.record.filter(|record| record.compute_type != ADOPTED)?;
        Some((self.intent?, record))
    }

    pub(super) fn labels(&self) -> Option<&'v Labels> {
        let recorded = self.record.map(|record| &record.labels);
        recorded.or(self.member.map(|member| &member.labels))
    }
}

impl Selectable for Unit<'_> {
    fn attribute(&self, key: &str) -> Option<String> {
        let recorded = self.record.map(|record| (&record.compute_type, &record.server_type));
        let told = self.member.map(|member| (&member.compute_type, &member.server_type));
        match key {
            "compute_type" => recorded.or(told).map(|(compute_type, _)| compute_type.clone()),
            "server_type" => recorded.or(told).map(|(_, server_type)| server_type.clone()),
            label => self.labels()?.get(label).cloned(),
        }
    }
}

/// Every machine and every member of the view.
pub(super) fn census(view: &FleetView) -> Vec<Unit<'_>> {
    let braked = view.is_braked();
    let mut units = Vec::with_capacity(view.machines.len());
    let mut paired = BTreeSet::new();
    for (intent, record) in &view.machines {
        let member = record.node.and_then(|node| view.members.get(&node));
        paired.extend(record.node);
        let mut unit = Unit {
            name: &record.name,
            intent: Some(*intent),
            record: Some(record),
            node: record.node,
            member,
            born_at: record.created_at,
            state: State::Apart,
        };
        unit.state = recorded_state(view, *intent, record, member, braked);
        units.push(unit);
    }
    for (node, member) in view.members.iter().filter(|(node, _)| !paired.contains(node)) {
        units.push(Unit {
            name: &member.name,
            intent: None,
            record: None,
            node: Some(*node),
            member: Some(member),
            born_at: member.added_at,
            state: if is_left_over(view, member) {
                State::Going
            } else {
                member_state(view, member, None, braked)
            },
        });
    }
    units
}

/// Whether a member that no record names was on a machine that went, or that was made anew.
fn is_left_over(view: &FleetView, member: &SeenMember) -> bool {
    let Some(intent) = member.intent else { return false };
    let has_another = view.machines.get(&intent).is_some_and(|record| record.node.is_some());
    has_another || view.tombstones.contains_key(&intent)
}

fn recorded_state(
    view: &FleetView,
    intent: IntentId,
    record: &MachineRecord,
    member: Option<&SeenMember>,
    braked: bool,
) -> State {
    if record.upkeep.retire.is_some() || view.tombstones.contains_key(&intent) {
        return State::Going;
    }
    if !record.is_meant_to_join() {
        return State::Apart;
    }
    let is_tended = record.upkeep.lease.is_some();
    let boot_timeout = Duration::from_millis(view.limits.boot_timeout_ms);
    match member {
        Some(member) => member_state(view, member, Some(record), braked),
        None if record.upkeep.put_out.is_some() => State::Going,
        None if is_tended => State::Coming,
        // A person put its member out.
        None if record.node.is_some() => State::Apart,
        None if view.since(record.created_at) < boot_timeout => State::Coming,
        None => State::Stale,
    }
}

fn member_state(
    view: &FleetView,
    member: &SeenMember,
    record: Option<&MachineRecord>,
    braked: bool,
) -> State {
    let is_tended = record.is_some_and(|record| record.upkeep.lease.is_some());
    let stands_still = record.is_some_and(|record| record.upkeep.stopped_at.is_some());
    match member.status {
        Status::Alive => State::Alive,
        // Two say so: it does not answer, and its back-end has it standing still.
        Status::Suspect if stands_still => State::Dead,
        Status::Suspect => State::Suspect,
        Status::Booting if is_tended => State::Coming,
        Status::Booting if !stands_still && !view.is_missing(member) => State::Coming,
        Status::Booting | Status::Failed | Status::Left => {
            let millis = if braked { view.limits.brake_ms } else { view.limits.replace_after_ms };
            let left = Duration::from_millis(millis).saturating_sub(member.status_for);
            let held = record.map(|record| holds_for(view, member, record)).unwrap_or_default();
            let (left, answers) = (left.max(held), !held.is_zero());
            if stands_still || left.is_zero() {
                State::Dead
            } else {
                State::Unsure { left, answers }
            }
        }
    }
}

/// For how much longer a failed member counts as there because it answered at a visit.
fn holds_for(view: &FleetView, member: &SeenMember, record: &MachineRecord) -> Duration {
    let answered = record.upkeep.answered_at.filter(|_| member.status_for < VISITS_LAST);
    answered.map(|at| ANSWER_HOLDS.saturating_sub(view.since(at))).unwrap_or_default()
}
