//! `slave`: machines that exist already, taken over through SSH.

use std::collections::BTreeMap;

use crate::model::action::Action;
use crate::model::action::Plan;
use crate::model::destination::Destination;
use crate::model::label::Labels;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::name::Name;
use crate::reconcile::spawn::found;
use crate::reconcile::world::World;

/// One machine to take over: an argument, or an entry of an inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlaveTarget {
    /// Where it is.
    pub destination: Destination,
    /// The host through which it is reached.
    pub via: Option<Destination>,
    /// Its name; none to keep its host name.
    pub name: Option<Name>,
    /// What it will be; none for the request's server type.
    pub server_type: Option<String>,
    /// Its labels.
    pub labels: Labels,
}

/// What is wished for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlaveRequest {
    /// The machines.
    pub targets: Vec<SlaveTarget>,
    /// What they will be, where they do not say themselves.
    pub server_type: String,
    /// Whether provisioning runs.
    pub provision: bool,
    /// Whether they become members.
    pub join: bool,
    /// The cluster to found where there is none.
    pub cluster: Name,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlaveError {
    /// No machine was named.
    #[error("no machine was named; give at least one [USER@]HOST[:PORT], or an inventory")]
    NoMachines,
    /// Two entries for one machine that do not agree.
    #[error("{0} is named twice, and not with the same settings")]
    Contradiction(Destination),
    /// Another machine or member has that name.
    #[error("the name {name} for {destination} is taken")]
    NameTaken {
        /// The name.
        name: Name,
        /// For which machine it was wished.
        destination: Destination,
    },
    /// The caller gave too few ids.
    #[error("an intent id for {0} is missing")]
    IntentMissing(Destination),
}

/// The plan for `request`; one id of `intents` is used for each machine that has none yet.
///
/// # Errors
/// [`SlaveError`].
pub fn plan_slave(
    request: &SlaveRequest,
    world: &World,
    intents: &mut impl Iterator<Item = IntentId>,
) -> Result<Plan, SlaveError> {
    let targets = merge(&request.targets)?;
    if targets.is_empty() {
        return Err(SlaveError::NoMachines);
    }
    let mut plan = Plan::default();
    if request.join && !world.is_founded {
        found(&mut plan, &request.cluster);
    }
    let mut taken = world.names();
    for target in targets {
        let destination = &target.destination;
        let known = find(world, target);
        let known_name = known.map(|(_, record)| &record.name);
        if let Some(name) = target.name.as_ref().filter(|name| known_name != Some(*name))
            && !taken.insert(name.clone())
        {
            let (name, destination) = (name.clone(), destination.clone());
            return Err(SlaveError::NameTaken { name, destination });
        }
        let intent = match known {
            Some((intent, _)) => intent,
            None => intents.next().ok_or_else(|| SlaveError::IntentMissing(destination.clone()))?,
        };
        let reason = if known.is_some() { "already ours: repaired" } else { "named by the user" };
        plan.push(
            Action::Slave {
                intent,
                name: target.name.clone().or_else(|| known_name.cloned()),
                destination: Some(destination.clone()),
                via: target.via.clone(),
                server_type: target
                    .server_type
                    .clone()
                    .or_else(|| known.map(|(_, record)| record.server_type.clone()))
                    .unwrap_or_else(|| request.server_type.clone()),
                labels: labels(target, known.map(|(_, record)| record)),
                provision: request.provision,
                join: request.join,
            },
            reason,
        );
    }
    Ok(plan)
}

/// Each machine once, in the order in which they were named. The same address and port behind
/// different hosts to go through are different machines.
fn merge(targets: &[SlaveTarget]) -> Result<Vec<&SlaveTarget>, SlaveError> {
    let mut seen: BTreeMap<_, &SlaveTarget> = BTreeMap::new();
    let mut merged = Vec::new();
    for target in targets {
        let place = (&target.destination.host, target.destination.port, &target.via);
        match seen.insert(place, target) {
            None => merged.push(target),
            Some(earlier) if earlier == target => {}
            Some(_) => return Err(SlaveError::Contradiction(target.destination.clone())),
        }
    }
    Ok(merged)
}

/// What is asked for, over what the machine has already.
fn labels(target: &SlaveTarget, known: Option<&MachineRecord>) -> Labels {
    let mut labels = known.map(|record| record.labels.clone()).unwrap_or_default();
    labels.extend(target.labels.clone());
    labels
}

/// The wish under which this machine was taken over or made before.
fn find<'a>(world: &'a World, target: &SlaveTarget) -> Option<(IntentId, &'a MachineRecord)> {
    let mut records = world.machines.iter();
    records.find_map(|(intent, record)| match &record.access {
        // One address behind two hosts to go through is two machines.
        Some(Access::Ssh { destination, via, .. })
            if *destination == target.destination
                && (via.is_none() || target.via.is_none() || *via == target.via) =>
        {
            Some((*intent, record))
        }
        _ => None,
    })
}
