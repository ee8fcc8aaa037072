//! `evict`: out of the cluster; the machine stays.

use crate::model::action::Action;
use crate::model::action::Plan;
use crate::model::name::Name;
use crate::reconcile::resolve::ResolveError;
use crate::reconcile::world::World;

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvictError {
    /// The name means nothing, or too much.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A machine on which no member runs.
    #[error("{0} is a machine but no member: there is nothing to evict; `destroy` gives it back")]
    NotAMember(Name),
    /// Nobody would be left who could write the description.
    #[error("that would leave no member; `destroy --all` ends a cluster")]
    NobodyLeft,
}

/// The plan that takes the named members out of the cluster.
///
/// # Errors
/// [`EvictError`]; nobody is evicted then.
pub fn plan_evict(names: &[String], world: &World) -> Result<Plan, EvictError> {
    let mut plan = Plan::default();
    let mut chosen = Vec::new();
    for text in names {
        let subject = world.resolve(text)?;
        let node = subject.node.ok_or_else(|| EvictError::NotAMember(subject.name.clone()))?;
        if !chosen.contains(&node) {
            chosen.push(node);
            plan.push(Action::Evict { node, name: subject.name }, "asked to go; the machine stays");
        }
    }
    if !chosen.is_empty() && chosen.len() == world.members.len() {
        return Err(EvictError::NobodyLeft);
    }
    Ok(plan)
}
