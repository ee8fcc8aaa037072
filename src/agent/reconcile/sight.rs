//! What the loop has seen, and since when: the parts of a view that no document tells.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::document::views::Admission;
use crate::config::layers::strip;
use crate::config::schema::Config;
use crate::model::identity::NodeId;
use crate::model::label::Labels;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineRecords;
use crate::model::machine::Tombstones;
use crate::model::member::Status;
use crate::model::name::Name;
use crate::model::time::Moment;
use crate::model::time::Timestamp;
use crate::model::upkeep::Lease;
use crate::model::upkeep::Retirement;
use crate::model::upkeep::Upkeep;
use crate::reconcile::fleet::view::FleetView;
use crate::reconcile::fleet::view::Listed;
use crate::reconcile::fleet::view::Listing;
use crate::reconcile::fleet::view::SeenMember;

/// What the event loop knows of the fleet.
#[derive(Debug)]
pub struct FleetInputs {
    /// Who looks.
    pub me: NodeId,
    /// The machines of the document.
    pub machines: MachineRecords,
    /// What remains of those that went.
    pub tombstones: Tombstones,
    /// The members.
    pub members: BTreeMap<NodeId, SeenMember>,
    /// The document's layer of the configuration.
    pub config: Arc<Value>,
    /// Why this member does not know enough to act.
    pub half_knowledge: Option<String>,
}

/// The member `node` as the document admitted it and as membership sees it from `me`. What it says
/// of itself is left empty.
#[must_use]
pub fn seen_member(
    me: NodeId,
    node: NodeId,
    admission: &Admission,
    statuses: &BTreeMap<NodeId, (Status, Moment)>,
    now: Moment,
) -> SeenMember {
    let (status, since) = match statuses.get(&node) {
        _ if node == me => (Status::Alive, Moment::START),
        Some(seen) => *seen,
        None => (Status::Booting, now),
    };
    SeenMember {
        name: admission.name.clone(),
        role: admission.role,
        status,
        status_for: now.since(since),
        added_at: admission.added_at,
        intent: admission.rest.get("intent").and_then(|id| id.as_str()?.parse().ok()),
        compute_type: String::new(),
        server_type: String::new(),
        labels: Labels::new(),
        drives: None,
    }
}

/// A back-end's last list.
struct Listings {
    at: Moment,
    /// Each machine, and since when it is on the lists.
    machines: BTreeMap<IntentId, (Name, bool, Moment)>,
}

/// What was seen. No clock and no files: the simulation sees with the same eyes.
pub struct Sight {
    leases: Known<Lease>,
    marks: Known<Retirement>,
    listings: BTreeMap<String, Listings>,
    config: Arc<Value>,
    config_changed: bool,
    default_compute_type: String,
    default_server_type: String,
}

impl Default for Sight {
    fn default() -> Self {
        Self::new()
    }
}

impl Sight {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let defaults = Config::default();
        Self {
            leases: Known::new(),
            marks: Known::new(),
            listings: BTreeMap::new(),
            config: Arc::default(),
            config_changed: true,
            default_compute_type: defaults.default_compute_type,
            default_server_type: defaults.default_server_type,
        }
    }

    /// The document's layer of the configuration.
    #[must_use]
    pub fn config_layer(&self) -> &Value {
        &self.config
    }

    /// Whether it has changed since this was asked last.
    pub fn config_changed(&mut self) -> bool {
        std::mem::take(&mut self.config_changed)
    }

    /// What is meant where a rule does not say.
    pub fn set_defaults(&mut self, config: &Config) {
        self.default_compute_type.clone_from(&config.default_compute_type);
        self.default_server_type.clone_from(&config.default_server_type);
    }

    /// A back-end has told what it has.
    pub fn listed(&mut self, now: Moment, compute_type: String, machines: Vec<Machine>) {
        let before = self.listings.remove(&compute_type);
        let since = |intent: &IntentId| {
            let known = before.as_ref().and_then(|before| before.machines.get(intent));
            known.map_or(now, |(_, _, since)| *since)
        };
        let machines = machines
            .into_iter()
            .map(|machine| {
                (machine.intent, (machine.name, machine.running, since(&machine.intent)))
            })
            .collect();
        self.listings.insert(compute_type, Listings { at: now, machines });
    }

    /// A machine was given back: lists from before that would have it given back again and again.
    pub fn given_back(&mut self, intent: IntentId) {
        for listings in self.listings.values_mut() {
            listings.machines.remove(&intent);
        }
    }

    /// The view at `now`, which a calendar calls `wall`.
    pub fn view(
        &mut self,
        now: Moment,
        wall: Timestamp,
        inputs: FleetInputs,
        busy: BTreeSet<IntentId>,
    ) -> FleetView {
        if !Arc::ptr_eq(&inputs.config, &self.config) {
            self.config_changed |= inputs.config != self.config;
            self.config = inputs.config;
        }
        let (rules, rules_fault) = section(&self.config, "rules");
        let (limits, limits_fault) = section(&self.config, "fleet");
        let settled = inputs.members.values().map(|member| member.status_for).min();
        FleetView {
            me: inputs.me,
            now: wall,
            rules,
            limits,
            default_compute_type: self.default_compute_type.clone(),
            default_server_type: self.default_server_type.clone(),
            lease_known_for: know(&mut self.leases, now, &inputs.machines, |it| it.lease.as_ref()),
            mark_known_for: know(&mut self.marks, now, &inputs.machines, |it| it.retire.as_ref()),
            machines: inputs.machines,
            tombstones: inputs.tombstones,
            settled_for: settled.unwrap_or_default(),
            members: inputs.members,
            listings: self.show_listings(now),
            busy,
            half_knowledge: inputs.half_knowledge.or(rules_fault).or(limits_fault),
        }
    }

    fn show_listings(&self, now: Moment) -> BTreeMap<String, Listing> {
        let shown = |listings: &Listings| Listing {
            age: now.since(listings.at),
            machines: listings
                .machines
                .iter()
                .map(|(intent, (name, running, since))| {
                    let (name, running) = (name.clone(), *running);
                    (*intent, Listed { name, running, listed_for: now.since(*since) })
                })
                .collect(),
        };
        let all = self.listings.iter();
        all.map(|(compute_type, listings)| (compute_type.clone(), shown(listings))).collect()
    }
}

/// What the records say of each machine, and since when they say it.
type Known<T> = BTreeMap<IntentId, (T, Moment)>;

/// Brings what is known up to `now`: for how long each record has said what `told` finds in it.
fn know<T: Clone + PartialEq>(
    known: &mut Known<T>,
    now: Moment,
    machines: &MachineRecords,
    told: impl Fn(&Upkeep) -> Option<&T>,
) -> BTreeMap<IntentId, Duration> {
    let mut before = std::mem::take(known);
    for (intent, record) in machines {
        let Some(said) = told(&record.upkeep) else { continue };
        let earlier = before.remove(intent).filter(|(earlier, _)| earlier == said);
        known.insert(*intent, earlier.unwrap_or_else(|| (said.clone(), now)));
    }
    known.iter().map(|(intent, (_, since))| (*intent, now.since(*since))).collect()
}

/// A section of the document's layer; its defaults, and what is wrong with it, when it is no such
/// section.
pub(in crate::agent) fn section<T: DeserializeOwned + Default>(
    config: &Value,
    key: &str,
) -> (T, Option<String>) {
    let Some(value) = config.get(key) else { return (T::default(), None) };
    match serde_json::from_value(strip(value)) {
        Ok(section) => (section, None),
        Err(error) => {
            (T::default(), Some(format!("{key} in the document cannot be read: {error}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cluster::ClusterId;

    #[test]
    fn what_was_given_back_is_off_the_list_until_it_is_listed_again() {
        let intent = IntentId::from_bytes([1; 10]);
        let machine = Machine {
            id: "one".to_owned(),
            intent,
            cluster: ClusterId::derive(1, &"home".parse().unwrap()),
            name: "local-1".parse().unwrap(),
            running: false,
            access: None,
        };
        let (mut sight, list) = (Sight::new(), vec![machine]);
        let is_listed = |sight: &Sight| {
            sight.show_listings(Moment::START)["local"].machines.contains_key(&intent)
        };
        sight.listed(Moment::START, "local".to_owned(), list.clone());
        assert!(is_listed(&sight));
        sight.given_back(intent);
        assert!(!is_listed(&sight));
        sight.listed(Moment::START, "local".to_owned(), list);
        assert!(is_listed(&sight));
    }
}
