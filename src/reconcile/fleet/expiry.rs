//! Lives that end: announced before, then retired.

use std::time::Duration;

use crate::reconcile::fleet::census::State;
use crate::reconcile::fleet::census::Unit;
use crate::reconcile::fleet::draft::Draft;
use crate::reconcile::fleet::plan::Act;
use crate::reconcile::fleet::plan::WhyNot;
use crate::reconcile::fleet::view::FleetView;

/// Whether a machine's time is over.
pub(super) fn is_over(view: &FleetView, unit: &Unit<'_>) -> bool {
    let end = unit.record.and_then(|record| record.upkeep.expires_at);
    end.is_some_and(|end| view.now >= end)
}

/// Plans the announcement and the end of every machine whose time is over.
pub(super) fn end(draft: &mut Draft<'_>) {
    let view = draft.view;
    let notice = Duration::from_millis(view.limits.ttl_warning_ms);
    let over = draft.units.iter().filter(|unit| is_over(view, unit));
    let leaving = over.filter_map(|unit| unit.node).collect();
    for unit in draft.units.clone() {
        let Some((intent, record)) = unit.ours() else { continue };
        let Some(expires_at) = record.upkeep.expires_at else { continue };
        if unit.state == State::Going {
            continue;
        }
        let name = unit.name.clone();
        let act = match record.upkeep.warned_at {
            None if view.now.after(notice) >= expires_at => Act::Warn { intent, name, expires_at },
            Some(_) if view.now >= expires_at => Act::Retire { intent, name, failed: false },
            warned_at => {
                let why = if warned_at.is_some() { WhyNot::Expiring } else { WhyNot::Lasting };
                let message = format!("{name} is destroyed at {expires_at}, when its time is over");
                draft.wait(record.upkeep.rule.as_deref(), why, message);
                continue;
            }
        };
        if let Some(by) = draft.chosen_of_staying(&intent.to_string(), &leaving) {
            let rule = record.upkeep.rule.clone();
            draft.push(by, act, rule.as_deref(), format!("its life ends at {expires_at}"));
        }
    }
}
