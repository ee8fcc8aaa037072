//! `spawn`: machines from a back-end, each provisioned and joined; the first founds the cluster.

use crate::model::action::Action;
use crate::model::action::Plan;
use crate::model::label::Labels;
use crate::model::machine::IntentId;
use crate::model::name::Name;
use crate::reconcile::names::next_free;
use crate::reconcile::world::World;

/// What is wished for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnRequest {
    /// The back-end.
    pub compute_type: String,
    /// What the machines will be.
    pub server_type: String,
    /// How many.
    pub count: usize,
    /// How many may be wished for at once.
    pub count_max: usize,
    /// The machine's name, or the stem of several machines' names.
    pub name: Option<Name>,
    /// Their labels.
    pub labels: Labels,
    /// Milliseconds that they live; none for as long as nobody destroys them.
    pub ttl_ms: Option<u64>,
    /// Whether provisioning runs.
    pub provision: bool,
    /// Whether they become members.
    pub join: bool,
    /// The cluster to found where there is none.
    pub cluster: Name,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// None were wished for.
    #[error("0 machines were asked for; ask for at least 1")]
    NoMachines,
    /// More than may be.
    #[error("{count} machines were asked for; at most {count_max} at once")]
    TooMany {
        /// How many were wished for.
        count: usize,
        /// How many may be.
        count_max: usize,
    },
    /// Another machine or member has that name.
    #[error("the name {0} is taken; choose another, or leave it out")]
    NameTaken(Name),
    /// The caller gave too few ids.
    #[error("{0} intent ids are missing")]
    IntentsMissing(usize),
}

/// The plan for `request`; one id of `intents` is used for each machine.
///
/// # Errors
/// [`SpawnError`].
pub fn plan_spawn(
    request: &SpawnRequest,
    world: &World,
    intents: &mut impl Iterator<Item = IntentId>,
) -> Result<Plan, SpawnError> {
    let SpawnRequest { count, count_max, .. } = *request;
    if count == 0 {
        return Err(SpawnError::NoMachines);
    }
    if count > count_max {
        return Err(SpawnError::TooMany { count, count_max });
    }
    let names = choose_names(request, world)?;
    let intents: Vec<IntentId> = intents.take(count).collect();
    if intents.len() < count {
        return Err(SpawnError::IntentsMissing(count - intents.len()));
    }
    let mut plan = Plan::default();
    if request.join && !world.is_founded {
        found(&mut plan, &request.cluster);
    }
    for (number, (name, intent)) in names.into_iter().zip(intents).enumerate() {
        let reason = format!("machine {} of {count} asked for", number + 1);
        plan.push(
            Action::Create {
                intent,
                name: name.clone(),
                compute_type: request.compute_type.clone(),
                server_type: request.server_type.clone(),
                labels: request.labels.clone(),
                ttl_ms: request.ttl_ms,
            },
            reason.clone(),
        );
        plan.push(
            Action::Slave {
                intent,
                name: Some(name),
                destination: None,
                via: None,
                server_type: request.server_type.clone(),
                labels: request.labels.clone(),
                provision: request.provision,
                join: request.join,
            },
            reason,
        );
    }
    Ok(plan)
}

/// Begins a cluster that does not exist yet.
pub(super) fn found(plan: &mut Plan, cluster: &Name) {
    plan.push(Action::Found { cluster: cluster.clone() }, "there is no cluster yet");
}

fn choose_names(request: &SpawnRequest, world: &World) -> Result<Vec<Name>, SpawnError> {
    let mut taken = world.names();
    match &request.name {
        Some(name) if request.count == 1 => {
            if taken.contains(name) {
                return Err(SpawnError::NameTaken(name.clone()));
            }
            Ok(vec![name.clone()])
        }
        given => {
            let stem = given.clone().unwrap_or_else(|| Name::from_hostname(&request.compute_type));
            Ok((0..request.count).map(|_| next_free(stem.as_str(), &mut taken)).collect())
        }
    }
}
