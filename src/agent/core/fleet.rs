//! What this agent knows of the fleet, for whoever tends it; and what it tells of itself for that.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use crate::agent::core::Core;
use crate::agent::core::not_synced;
use crate::agent::error::AgentError;
use crate::agent::reconcile::sight::FleetInputs;
use crate::agent::reconcile::sight::seen_member;
use crate::model::facts::Facts;
use crate::model::identity::NodeId;
use crate::model::machine::IntentId;
use crate::reconcile::fleet::view::SeenMember;

/// Key among the facts: the compute types that a member can drive, and the scope of each.
const DRIVES: &str = "drives";

impl Core {
    /// The fleet, as far as the event loop knows it.
    pub(super) fn fleet_inputs(&mut self) -> FleetInputs {
        let now = self.now();
        let me = self.me();
        let statuses = self.parts.gossip.statuses();
        let members = self.roster().members.iter().map(|(node, admission)| {
            let facts = self.parts.gossip.facts(*node);
            let told = |word: fn(&Facts) -> &String| facts.map(word).cloned().unwrap_or_default();
            let seen = SeenMember {
                compute_type: told(|facts| &facts.compute_type),
                server_type: told(|facts| &facts.server_type),
                labels: facts.map(|facts| facts.labels.clone()).unwrap_or_default(),
                drives: facts.and_then(drives_of),
                ..seen_member(me, *node, admission, &statuses, now)
            };
            (*node, seen)
        });
        let members: BTreeMap<_, _> = members.collect();
        let half_knowledge = self.half_knowledge(&members);
        let records = self.fleet_records();
        FleetInputs {
            me,
            machines: records.machines.clone(),
            tombstones: records.tombstones.clone(),
            members,
            config: Arc::clone(&records.config),
            half_knowledge,
        }
    }

    fn half_knowledge(&mut self, members: &BTreeMap<NodeId, SeenMember>) -> Option<String> {
        if !self.is_ready() || !members.contains_key(&self.me()) {
            return Some(not_synced().to_string());
        }
        if let Some(why) = &self.disk_problem {
            return Some(format!("what is written does not reach the disk: {why}"));
        }
        let running_for = self.now().elapsed();
        let is_early = !self.first_look.is_over(running_for, members);
        is_early.then(|| "this agent has just started, and looks around first".to_owned())
    }

    /// Why the machine of a wish is not let in: it was taken back meanwhile.
    pub(super) fn withdrawn(&self, intent: IntentId) -> Option<AgentError> {
        let tombstone = self.fleet_records().tombstones.get(&intent)?;
        Some(AgentError::Conflict(format!(
            "{} was taken back: {}",
            tombstone.name, tombstone.reason
        )))
    }

    /// What this machine can drive; the members are told.
    pub(super) fn set_drives(&mut self, drives: BTreeMap<String, String>) {
        if self.drives.as_ref() != Some(&drives) {
            self.drives = Some(drives);
            self.refresh_soon();
        }
    }

    /// What this machine tells of itself for the care of the fleet.
    pub(super) fn fleet_facts(&self) -> serde_json::Map<String, Value> {
        let drives = self.drives.iter().map(|drives| (DRIVES.to_owned(), json!(drives)));
        drives.collect()
    }
}

/// A member's own word; another's nonsense counts as none.
fn drives_of(facts: &Facts) -> Option<BTreeMap<String, String>> {
    let drives = facts.rest.get(DRIVES)?.as_object()?;
    let pair = |(name, scope): (&String, &Value)| Some((name.clone(), scope.as_str()?.to_owned()));
    Some(drives.iter().filter_map(pair).collect())
}
