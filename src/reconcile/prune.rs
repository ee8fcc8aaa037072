//! `prune`: what is dead for long enough is removed, membership and machine.

use std::time::Duration;

use crate::model::action::Plan;
use crate::model::machine::MachineRecord;
use crate::model::member::Status;
use crate::model::time::Timestamp;
use crate::reconcile::world::KnownMember;
use crate::reconcile::world::Subject;
use crate::reconcile::world::World;

/// What counts as dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneRequest {
    /// How long something must have been dead.
    pub dead_for: Duration,
    /// The wall clock, against which a machine's age is taken.
    pub now: Timestamp,
}

/// The plan that removes members that failed, left or never came, and machines on which no member
/// runs though one should. Living members, suspects, and machines that were never meant to join
/// stay, and so does the executor.
#[must_use]
pub fn plan_prune(request: &PruneRequest, world: &World) -> Plan {
    let mut plan = Plan::default();
    for subject in world.subjects() {
        if subject.node.is_some() && subject.node == world.executor {
            continue;
        }
        if let Some(reason) = reason(request, world, &subject) {
            world.retire(&mut plan, &subject, &reason);
        }
    }
    plan
}

/// Why the subject goes; none when it stays.
fn reason(request: &PruneRequest, world: &World, subject: &Subject) -> Option<String> {
    if let Some(member) = subject.node.and_then(|node| world.members.get(&node)) {
        return member_reason(request, member);
    }
    let (_, record) = world.record(subject)?;
    machine_reason(request, record)
}

fn member_reason(request: &PruneRequest, member: &KnownMember) -> Option<String> {
    if member.status_for.is_some_and(|since| since < request.dead_for) {
        return None;
    }
    let ago = member.status_for.map(|since| format!(" {} ago", in_words(since)));
    let ago = ago.unwrap_or_default();
    match member.status {
        Status::Failed => Some(format!("failed{ago}")),
        Status::Left => Some(format!("left{ago}")),
        Status::Booting => Some(format!("admitted{ago} and never seen")),
        Status::Alive | Status::Suspect => None,
    }
}

fn machine_reason(request: &PruneRequest, record: &MachineRecord) -> Option<String> {
    let age = request.now.since(record.created_at);
    if age < request.dead_for || !record.is_meant_to_join() {
        return None;
    }
    Some(match record.node {
        Some(_) => "its member was evicted".to_owned(),
        None => format!("asked for {} ago and never a member", in_words(age)),
    })
}

/// Whole seconds: nobody prunes by milliseconds.
fn in_words(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}
