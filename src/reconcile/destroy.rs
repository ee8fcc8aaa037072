//! `destroy`: out of the cluster, and the machine given back.

use crate::model::action::Plan;
use crate::reconcile::resolve::ResolveError;
use crate::reconcile::world::World;

/// What is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestroyRequest {
    /// These, by name or id.
    Named(Vec<String>),
    /// Everything.
    All,
}

/// The plan for `request`. Machines that were taken over are evicted and forgotten, not destroyed.
///
/// # Errors
/// [`ResolveError`] when a name means nothing, or too much; nothing is destroyed then.
pub fn plan_destroy(request: &DestroyRequest, world: &World) -> Result<Plan, ResolveError> {
    let all = world.subjects();
    let (chosen, reason) = match request {
        DestroyRequest::All => (all, "all were asked to go"),
        DestroyRequest::Named(texts) => {
            let mut named = Vec::new();
            for text in texts {
                named.push(world.resolve(text)?);
            }
            // In the order of the whole, so that the executor goes last, and each once.
            let chosen = all.into_iter().filter(|subject| named.contains(subject)).collect();
            (chosen, "asked to go")
        }
    };
    let mut plan = Plan::default();
    for subject in &chosen {
        world.retire(&mut plan, subject, reason);
    }
    Ok(plan)
}
