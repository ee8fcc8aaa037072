//! Machines that go: the dead are cleared away, and what is to go is given back.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::machine::IntentId;
use crate::model::member::Status;
use crate::reconcile::fleet::census::State;
use crate::reconcile::fleet::census::Unit;
use crate::reconcile::fleet::draft::Draft;
use crate::reconcile::fleet::expiry::is_over;
use crate::reconcile::fleet::plan::Act;
use crate::reconcile::fleet::plan::WhyNot;
use crate::reconcile::fleet::view::SeenMember;

/// How long it is known that a machine that lives is to go before it goes. Two members that found
/// a surplus at the same moment may each have marked the other: both are to hear of both marks first,
/// which the members tell each other in well under a second.
const MARKS_MEET: Duration = Duration::from_secs(2);

/// Plans the end of every machine of which it is written that it is to go.
pub(super) fn carry_out(draft: &mut Draft<'_>) {
    let needed = needed(draft);
    for (place, unit) in draft.units.clone().into_iter().enumerate() {
        if unit.state != State::Going {
            continue;
        }
        match (unit.intent, unit.node) {
            (Some(intent), _) if needed.contains(&place) => {
                let act = Act::Keep { intent, name: unit.name.clone() };
                if let Some(by) = draft.chosen(&intent.to_string(), None) {
                    draft.push(by, act, None, "fewer than min would live without it");
                }
            }
            (Some(intent), _) if is_undecided(draft, &unit) && !have_marks_met(draft, intent) => {
                let message = format!("{} is to go; others may be marked as well", unit.name);
                let rule = unit.record.and_then(|record| record.upkeep.rule.as_deref());
                draft.wait(rule, WhyNot::Unsettled, message);
            }
            (None, Some(node)) => {
                let act = Act::PutOut { node, name: unit.name.clone() };
                if let Some(by) = draft.chosen(&node.to_string(), Some(node)) {
                    draft.push(by, act, None, "its machine is gone");
                }
            }
            _ => give_back(draft, &unit),
        }
    }
}

/// Those that are to go, live, and are needed: two that each retired a surplus, or a person at the
/// same time, may have taken too many together. The oldest stay. What a person destroyed does not.
fn needed(draft: &Draft<'_>) -> BTreeSet<usize> {
    let mut needed = BTreeSet::new();
    for rule in draft.view.rules.values() {
        let lives =
            |place: &usize| matches!(draft.units[*place].state, State::Alive | State::Suspect);
        let alive = draft.counted(rule).iter().filter(|place| lives(place)).count();
        let lacking = usize::try_from(rule.min).unwrap_or(usize::MAX).saturating_sub(alive);
        let mut going: Vec<usize> = (0..draft.units.len())
            .filter(|place| is_undecided(draft, &draft.units[*place]))
            .filter(|place| rule.select.matches(&draft.units[*place]))
            .collect();
        going.sort_by_key(|place| (draft.units[*place].born_at, draft.units[*place].intent));
        needed.extend(going.into_iter().take(lacking));
    }
    needed
}

/// Whether a machine is marked, and could be kept still.
fn is_undecided(draft: &Draft<'_>, unit: &Unit<'_>) -> bool {
    let view = draft.view;
    // Who takes it away already does not keep it in the same breath.
    let is_marked_only = unit.intent.is_some_and(|intent| {
        !view.tombstones.contains_key(&intent) && !view.busy.contains(&intent)
    });
    let lives = unit.member.is_some_and(|member| member.status == Status::Alive);
    unit.state == State::Going
        && is_marked_only
        && lives
        && !is_over(view, unit)
        && !view.limits.paused
}

/// Whether this member has known for long enough that a machine is to go.
fn have_marks_met(draft: &Draft<'_>, intent: IntentId) -> bool {
    draft.view.mark_known_for.get(&intent).is_some_and(|known_for| *known_for >= MARKS_MEET)
}

fn give_back(draft: &mut Draft<'_>, unit: &Unit<'_>) {
    let (Some(intent), Some(record)) = (unit.intent, unit.record) else { return };
    let view = draft.view;
    let (compute_type, scope) = (&record.compute_type, record.upkeep.scope.as_deref());
    let by = draft.chosen_destroyer(&intent.to_string(), compute_type, scope, unit.node);
    let (name, rule) = (unit.name.clone(), record.upkeep.rule.as_deref());
    let Some(by) = by else {
        let is_here = unit.node == Some(view.me);
        if view.actors(|node, _| Some(node) != unit.node).next().is_some() {
            let driven = draft.is_driven(compute_type, scope);
            let (why, message) = if driven {
                (WhyNot::GoesLast, format!("{name} takes the others away first"))
            } else {
                let why = format!("no member that lives can drive {compute_type} where {name} is");
                (WhyNot::NoBackEnd, why)
            };
            draft.wait(rule, why, message);
        } else if others_can_be_given_back(draft, intent) {
            let message = format!("{name} takes the others away first");
            draft.wait(rule, WhyNot::GoesLast, message);
        } else if is_here && is_over(view, unit) {
            let act = Act::End { intent, name };
            draft.push(view.me, act, rule, "its time is over, and nobody else is left");
        } else {
            let message = format!("{name} is the last; `raptor destroy --all` ends the cluster");
            draft.wait(rule, WhyNot::GoesLast, message);
        }
        return;
    };
    let reason = match (record.upkeep.ending(), view.tombstones.get(&intent)) {
        (Some(retire), _) => retire.reason.clone(),
        (None, Some(tombstone)) => tombstone.reason.clone(),
        (None, None) => return,
    };
    if by == view.me && view.busy.contains(&intent) {
        return;
    }
    let node = unit.node.filter(|node| view.members.contains_key(node));
    let compute_type = compute_type.clone();
    draft.push(by, Act::Destroy { intent, name, compute_type, node }, rule, reason);
}

/// Whether machines are to go besides that of `intent` that a member that lives can give back. One
/// that was put out is no member, and its machine may be there still.
fn others_can_be_given_back(draft: &mut Draft<'_>, intent: IntentId) -> bool {
    let others = draft
        .units
        .iter()
        .filter(|other| other.state == State::Going && other.intent != Some(intent));
    let records: Vec<_> = others.filter_map(|other| other.record).collect();
    records
        .into_iter()
        .any(|record| draft.is_driven(&record.compute_type, record.upkeep.scope.as_deref()))
}

/// Decides which of the dead, and of the wishes that nobody fulfils, are to go.
pub(super) fn decide(draft: &mut Draft<'_>) {
    if draft.view.rules.is_empty() {
        return;
    }
    let patience = Duration::from_millis(draft.view.limits.bury_after_ms);
    for unit in draft.units.clone() {
        let Some((intent, record)) = unit.ours() else { continue };
        let (reason, failed) = match unit.state {
            State::Stale => ("nobody has made it since it was asked for", true),
            State::Dead if record.upkeep.stopped_at.is_some() => {
                // Whoever is only suspected may show that it lives.
                let may_return = |member: &SeenMember| {
                    member.status == Status::Suspect || member.status_for < patience
                };
                if unit.member.is_some_and(may_return) {
                    continue;
                }
                ("it is dead, and stands still", false)
            }
            State::Dead => {
                let message = format!(
                    "{} is dead, but no back-end says that it stands still; `raptor prune` gives \
                     it back",
                    unit.name
                );
                draft.wait(None, WhyNot::Unsure, message);
                continue;
            }
            _ => continue,
        };
        let act = Act::Retire { intent, name: unit.name.clone(), failed };
        if let Some(by) = draft.chosen(&intent.to_string(), unit.node) {
            draft.push(by, act, record.upkeep.rule.as_deref(), reason);
        }
    }
}
