//! What must hold about the fleet, and what each member does about it: a pure function of what it
//! knows. One file for each concern.
//!
//! Everything is written down before it is done: a wish before a machine is asked for, a retirement
//! before one is taken away. Whoever dies in between leaves behind what another can take up.

mod caps;
mod census;
pub mod choose;
mod crew;
mod draft;
mod endings;
mod evidence;
pub mod executor;
mod expiry;
mod orphans;
pub mod plan;
mod shortage;
mod surplus;
mod task;
pub mod view;
mod wishes;
pub mod write;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::reconcile::fleet::draft::Draft;
use crate::reconcile::fleet::plan::FleetPlan;
use crate::reconcile::fleet::plan::WhyNot;
use crate::reconcile::fleet::view::FleetView;

/// What the members do about the fleet as `view` shows it. The same view gives the same plan.
#[must_use]
pub fn reconcile(view: &FleetView) -> FleetPlan {
    let mut draft = Draft::new(view);
    if let Some(why) = &view.half_knowledge {
        draft.wait(None, WhyNot::HalfKnowledge, format!("nothing is done: {why}"));
        return draft.finish();
    }
    endings::carry_out(&mut draft);
    if view.limits.paused {
        draft.wait(None, WhyNot::Paused, "the fleet is paused (fleet.paused)".to_owned());
        return draft.finish();
    }
    wishes::tend(&mut draft);
    evidence::gather(&mut draft);
    expiry::end(&mut draft);
    endings::decide(&mut draft);
    orphans::handle(&mut draft);
    shortage::mend(&mut draft);
    surplus::mend(&mut draft);
    draft.finish()
}
