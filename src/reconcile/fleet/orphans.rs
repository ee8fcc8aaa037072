//! Machines that a back-end has and nobody knows: taken up, or given back when they went before.

use std::time::Duration;

use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::name::Name;
use crate::reconcile::fleet::census::State;
use crate::reconcile::fleet::choose::choose;
use crate::reconcile::fleet::draft::Draft;
use crate::reconcile::fleet::plan::Act;
use crate::reconcile::fleet::view::FleetView;
use crate::reconcile::fleet::view::Listed;
use crate::reconcile::fleet::view::Listing;

/// How often each back-end is asked what it has.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How old a list may be on which there are machines that nobody knows.
const STRANGERS_LAST: Duration = Duration::from_secs(3);

/// Plans regular looks at this member's back-ends, and what is done about what they show.
pub(super) fn handle(draft: &mut Draft<'_>) {
    let view = draft.view;
    let own = view.members.get(&view.me).filter(|seen| seen.can_act());
    let Some(drives) = own.and_then(|seen| seen.drives.as_ref()) else { return };
    if view.rules.is_empty() {
        return;
    }
    for (compute_type, scope) in drives {
        let subject = format!("{compute_type} {scope}");
        if choose(&subject, view.drivers(compute_type, Some(scope))) != Some(view.me) {
            continue;
        }
        let listing = view.listings.get(compute_type);
        let strangers = strangers(view, listing);
        let lost = lost(draft, compute_type, scope, listing);
        // What is done about a stranger changes the list, so that an old one is asked for again.
        let lasts =
            if strangers.is_empty() && lost.is_empty() { LOOK_EVERY } else { STRANGERS_LAST };
        if listing.is_none_or(|listing| listing.age >= lasts) {
            look(draft, compute_type);
            continue;
        }
        for (intent, listed) in strangers {
            decide(draft, compute_type, intent, listed);
        }
        for (intent, name) in lost {
            let reason = "its member was put out, and its back-end does not have it";
            draft.push(view.me, Act::Forget { intent, name }, None, reason);
        }
    }
}

/// The machines on a list that stand in no record.
fn strangers<'v>(view: &FleetView, listing: Option<&'v Listing>) -> Vec<(IntentId, &'v Listed)> {
    let listed = listing.into_iter().flat_map(|listing| &listing.machines);
    listed
        .filter(|(intent, _)| !view.machines.contains_key(intent) && !view.busy.contains(intent))
        .map(|(intent, listed)| (*intent, listed))
        .collect()
}

/// Records of machines whose members were put out and that are not on their back-end's list: whoever
/// was destroying them went before that was written down.
fn lost(
    draft: &Draft<'_>,
    compute_type: &str,
    scope: &str,
    listing: Option<&Listing>,
) -> Vec<(IntentId, Name)> {
    let Some(listing) = listing else { return Vec::new() };
    let is_lost = |intent: &IntentId, record: &MachineRecord| {
        record.compute_type == compute_type
            && record.upkeep.scope.as_deref() == Some(scope)
            && draft.view.since(record.created_at) > LOOK_EVERY
            && !listing.machines.contains_key(intent)
    };
    let put_out =
        draft.units.iter().filter(|unit| unit.state == State::Apart && unit.node.is_some());
    let lost = put_out.filter_map(|unit| {
        let (intent, record) = unit.ours()?;
        is_lost(&intent, record).then(|| (intent, unit.name.clone()))
    });
    lost.collect()
}

fn look(draft: &mut Draft<'_>, compute_type: &str) {
    let me = draft.view.me;
    let act = Act::Check { compute_type: compute_type.to_owned() };
    let is_planned =
        draft.plan().actions.iter().any(|planned| planned.by == me && planned.act == act);
    if !is_planned {
        draft.push(me, act, None, "for machines that nobody knows");
    }
}

fn decide(draft: &mut Draft<'_>, compute_type: &str, intent: IntentId, listed: &Listed) {
    let view = draft.view;
    let (name, compute_type) = (listed.name.clone(), compute_type.to_owned());
    if view.members.get(&view.me).is_some_and(|own| own.intent == Some(intent)) {
        // Others put this member out first, once there are any: the last one stays to rebuild them.
        return;
    }
    if let Some(tombstone) = view.tombstones.get(&intent) {
        let reason = format!("it went before: {}", tombstone.reason);
        draft.push(view.me, Act::DestroyAgain { intent, name, compute_type }, None, reason);
        return;
    }
    // Its wish may be on its way here.
    if listed.listed_for >= Duration::from_millis(view.limits.adopt_after_ms) {
        let reason = "it carries this cluster's mark, and nobody knows it";
        draft.push(view.me, Act::Adopt { intent, name, compute_type }, None, reason);
    }
}
