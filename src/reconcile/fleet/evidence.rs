//! What back-ends say of machines whose members are suspected or failed: one that stands still need not
//! be waited for, and only one that stands still is cleared away. One that runs is visited once it is
//! failed: the mesh may be what failed.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::time::Timestamp;
use crate::reconcile::fleet::census::State;
use crate::reconcile::fleet::census::Unit;
use crate::reconcile::fleet::census::VISITS_LAST;
use crate::reconcile::fleet::draft::Draft;
use crate::reconcile::fleet::plan::Act;
use crate::reconcile::fleet::plan::Planned;
use crate::reconcile::fleet::view::SeenMember;

/// How often a back-end is asked again about machines that it says run.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Least time between two questions about members that are only suspected: on a bad network somebody
/// always is.
const ASK_OF_SUSPECTS: Duration = Duration::from_millis(500);

/// How long a member that is called alive here may be noted to stand still before the note counts as
/// wrong: whoever noted it knows of a suspicion that has not been heard here yet.
const NEWS_TAKES: Duration = Duration::from_secs(5);

/// How often a machine that answers is visited again.
const VISIT_AGAIN: Duration = Duration::from_secs(20);

/// Machines that are visited at the same time, at most: the others have their turn after those.
const VISITS_MAX: usize = 32;

/// Plans what is asked of back-ends about the suspected and the failed, and notes what they said.
pub(super) fn gather(draft: &mut Draft<'_>) {
    if draft.view.rules.is_empty() {
        return;
    }
    let mut asked = BTreeSet::new();
    for unit in draft.units.clone() {
        let Some((intent, record)) = unit.ours() else { continue };
        let stopped_at = record.upkeep.stopped_at;
        let is_noted = stopped_at.is_some();
        match unit.state {
            State::Alive if stopped_at.is_some_and(|at| answers_again(draft, &unit, at)) => {
                let act = Act::Note { intent, name: unit.name.clone(), stopped: false };
                if let Some(by) = draft.chosen(&intent.to_string(), None) {
                    draft.push(by, act, None, "its member answers again");
                }
            }
            State::Coming if !is_noted && is_overdue(draft, &unit, record) => {
                ask(draft, &unit, intent, record, &mut asked);
            }
            State::Suspect | State::Unsure { .. } | State::Dead if !is_noted => {
                ask(draft, &unit, intent, record, &mut asked);
            }
            _ => {}
        }
    }
}

/// Whether a member that is alive here shows that the note of its standing still is wrong.
fn answers_again(draft: &Draft<'_>, unit: &Unit<'_>, stopped_at: Timestamp) -> bool {
    let noted_for = draft.view.since(stopped_at);
    noted_for >= NEWS_TAKES || unit.member.is_some_and(|member| member.status_for < noted_for)
}

/// Whether a machine that nobody makes any more has not been heard of for so long that it may have
/// died before this member could: one that started again has seen nobody yet.
fn is_overdue(draft: &Draft<'_>, unit: &Unit<'_>, record: &MachineRecord) -> bool {
    let patience = Duration::from_millis(draft.view.limits.replace_after_ms);
    let unheard = unit.member.filter(|_| record.upkeep.lease.is_none());
    unheard.is_some_and(|member| member.status_for >= patience)
}

fn ask(
    draft: &mut Draft<'_>,
    unit: &Unit<'_>,
    intent: IntentId,
    record: &MachineRecord,
    asked: &mut BTreeSet<String>,
) {
    let Some(member) = unit.member else { return };
    let view = draft.view;
    let (compute_type, scope) = (&record.compute_type, record.upkeep.scope.as_deref());
    let subject =
        scope.map_or_else(|| intent.to_string(), |scope| format!("{compute_type} {scope}"));
    let Some(by) = draft.chosen_driver(&subject, compute_type, scope, unit.node) else { return };
    // A list from before it failed says nothing about it.
    let listing = view
        .listings
        .get(compute_type)
        .filter(|listing| by == view.me && listing.age < member.status_for);
    let is_suspect = unit.state == State::Suspect;
    let stands_still = listing.is_some_and(|listing| match listing.machines.get(&intent) {
        Some(listed) => !listed.running,
        // Where it was made is not known, so it may be elsewhere. That a list lacks one is a weaker
        // word than that it stands still: whoever is only suspected is given its time.
        None => scope.is_some() && !is_suspect,
    });
    if stands_still {
        let act = Act::Note { intent, name: unit.name.clone(), stopped: true };
        draft.push(by, act, None, format!("its member is {}", member.status));
        return;
    }
    let runs =
        listing.and_then(|listing| listing.machines.get(&intent)).is_some_and(|it| it.running);
    if runs && !is_suspect && is_visit_due(draft, member, record) {
        let act = Act::Visit { intent, name: unit.name.clone() };
        let reason = format!("its member is {}, and its back-end says that it runs", member.status);
        draft.push(by, act, None, reason);
    }
    let is_too_soon = is_suspect && by == view.me && {
        let last = view.listings.get(compute_type);
        last.is_some_and(|last| last.age < ASK_OF_SUSPECTS)
    };
    let is_old = listing.is_none_or(|listing| listing.age >= ASK_AGAIN);
    if is_old && !is_too_soon && asked.insert(subject) {
        let act = Act::Check { compute_type: compute_type.clone() };
        draft.push(by, act, None, format!("{} is {}", unit.name, member.status));
    }
}

fn is_visit_due(draft: &Draft<'_>, member: &SeenMember, record: &MachineRecord) -> bool {
    let is_visit = |planned: &&Planned| matches!(planned.act, Act::Visit { .. });
    let answered = record.upkeep.answered_at.map(|at| draft.view.since(at));
    member.status_for < VISITS_LAST
        && answered.is_none_or(|ago| ago >= VISIT_AGAIN)
        && draft.plan().actions.iter().filter(is_visit).count() < VISITS_MAX
}
