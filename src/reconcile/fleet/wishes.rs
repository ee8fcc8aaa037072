//! Machines that are being made: by whom, for how long, and who goes on when the maker is gone.

use std::time::Duration;

use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::member::Status;
use crate::model::upkeep::Lease;
use crate::reconcile::fleet::census::State;
use crate::reconcile::fleet::census::Unit;
use crate::reconcile::fleet::draft::Draft;
use crate::reconcile::fleet::plan::Act;
use crate::reconcile::fleet::plan::WhyNot;

/// Members that may try to make one machine, one after the other.
const ATTEMPTS_MAX: u32 = 4;

/// Plans what happens to every wish that is not fulfilled, and to those that just were.
pub(super) fn tend(draft: &mut Draft<'_>) {
    for unit in draft.units.clone() {
        let Some((intent, record)) = unit.ours() else { continue };
        match (&record.upkeep.lease, unit.state) {
            (Some(lease), State::Alive) => release(draft, &unit, intent, lease),
            (Some(lease), State::Coming) => make(draft, &unit, intent, record, lease),
            (None, State::Coming) => wait_for(draft, &unit, intent, record),
            _ => {}
        }
    }
}

/// A machine on its way that no member works on: a person's, or one that its maker saw and this
/// member did not. When that does not change, another member takes it in again: whoever it was told
/// to call may have died meanwhile.
fn wait_for(draft: &mut Draft<'_>, unit: &Unit<'_>, intent: IntentId, record: &MachineRecord) {
    let name = unit.name.clone();
    let (Some(rule), Some(member)) = (record.upkeep.rule.as_deref(), unit.member) else {
        let message = format!("{name} is being made by a person");
        return draft.wait(None, WhyNot::HeldByPerson, message);
    };
    let patience = Duration::from_millis(draft.view.limits.lease_ms);
    let scope = record.upkeep.scope.as_deref();
    let by = draft.chosen_driver(&intent.to_string(), &record.compute_type, scope, unit.node);
    if let Some(by) = by.filter(|_| member.status_for >= patience) {
        let act = Act::TakeOver { intent, name, attempt: 1 };
        draft.push(by, act, Some(rule), "it was made, and nobody hears of it");
    } else {
        let message = format!("{name} is made, and has not been heard of yet");
        draft.wait(Some(rule), WhyNot::Unsure, message);
    }
}

/// A wish that is fulfilled.
fn release(draft: &mut Draft<'_>, unit: &Unit<'_>, intent: IntentId, lease: &Lease) {
    let view = draft.view;
    let holder = view.members.get(&lease.holder).filter(|holder| holder.can_act());
    // While its maker is at work it says so itself.
    let by = match holder {
        Some(_) if lease.holder == view.me && view.busy.contains(&intent) => return,
        Some(_) => Some(lease.holder),
        None => draft.chosen(&intent.to_string(), None),
    };
    let act = Act::Release { intent, name: unit.name.clone() };
    if let Some(by) = by {
        draft.push(by, act, None, "it is a member, and alive");
    }
}

/// A wish on its way.
fn make(
    draft: &mut Draft<'_>,
    unit: &Unit<'_>,
    intent: IntentId,
    record: &MachineRecord,
    lease: &Lease,
) {
    let view = draft.view;
    let (name, rule) = (unit.name.clone(), record.upkeep.rule.as_deref());
    let known_for = view.lease_known_for.get(&intent).copied().unwrap_or_default();
    let patience = Duration::from_millis(view.limits.lease_ms);
    if lease.holder == view.me {
        if view.busy.contains(&intent) {
            if known_for * 2 >= patience {
                draft.push(view.me, Act::Renew { intent, name }, rule, "it takes its time");
            }
        } else if known_for >= patience * ATTEMPTS_MAX {
            give_up(draft, unit, intent, rule, "its back-end does not answer");
        } else {
            draft.push(view.me, Act::Make { intent, name }, rule, "this member holds the wish");
        }
        return;
    }
    let holder = view.members.get(&lease.holder);
    let holder_name = view.name_of(lease.holder);
    let gone = match holder.map(|holder| holder.status) {
        Some(Status::Alive | Status::Booting) if known_for < patience => {
            let message = format!("{name} is being made by {holder_name}");
            draft.wait(rule, WhyNot::HeldByOther, message);
            return;
        }
        Some(Status::Suspect) => {
            let message = format!("{name} is being made by {holder_name}, which is suspected");
            draft.wait(rule, WhyNot::Suspect, message);
            return;
        }
        Some(Status::Alive | Status::Booting) => "gives no sign",
        Some(Status::Failed | Status::Left) => "is gone",
        None => "was put out",
    };
    let attempt = lease.attempt + 1;
    let subject = format!("{intent} {attempt}");
    let scope = record.upkeep.scope.as_deref();
    let next = draft.chosen_driver(&subject, &record.compute_type, scope, Some(lease.holder));
    match next.filter(|_| attempt < ATTEMPTS_MAX) {
        Some(by) => {
            let reason = format!("{holder_name} {gone}");
            draft.push(by, Act::TakeOver { intent, name, attempt }, rule, reason);
        }
        None => give_up(draft, unit, intent, rule, &format!("{holder_name} {gone}")),
    }
}

/// Nobody can go on: the wish is withdrawn, and another takes its place.
fn give_up(
    draft: &mut Draft<'_>,
    unit: &Unit<'_>,
    intent: IntentId,
    rule: Option<&str>,
    why: &str,
) {
    let by = draft.chosen(&intent.to_string(), unit.node);
    let act = Act::Retire { intent, name: unit.name.clone(), failed: true };
    if let Some(by) = by {
        draft.push(by, act, rule, format!("{why}, and nobody else can make it"));
    }
}
