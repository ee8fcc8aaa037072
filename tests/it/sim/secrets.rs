//! Secrets: whom they are sealed to, by the agents' own decisions, and who could read what.
//!
//! The cipher is stood in for: a seal is the list of those who can open it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::rc::Rc;

use rand::RngExt;
use raptor::agent::resealing::NewSeals;
use raptor::agent::resealing::changes;
use raptor::model::identity::NodeId;
use raptor::model::member::Member;
use raptor::model::member::Role;
use raptor::model::member::Status;
use raptor::model::name::Name;
use raptor::model::time::Moment;
use raptor::reconcile::sealing::Candidate;
use raptor::reconcile::sealing::Parties;
use raptor::reconcile::sealing::Resealing;
use raptor::reconcile::sealing::resealings;
use raptor::reconcile::sealing::sealer;
use serde_json::Value;
use serde_json::json;

use crate::sim::Fault;
use crate::sim::hands::Work;
use crate::sim::machine::Records;
use crate::sim::world::World;
use crate::sim::world::set;

/// The label by which one secret chooses, and its values.
const ZONE: &str = "zone";
const ZONES: [&str; 2] = ["home", "away"];

/// The secrets, and for whom they are.
pub const SECRETS: [(&str, &str); 2] = [("everybodys", ""), ("of-home", "zone=home")];

/// Where a machine is: that follows from its key, and holds whatever the members believe.
fn zone(node: NodeId) -> &'static str {
    ZONES[usize::from(node.as_bytes()[0] % 2)]
}

/// Whether a machine may ever read the secret `name`.
fn is_meant(name: &str, node: NodeId) -> bool {
    name != "of-home" || zone(node) == "home"
}

/// A new value of a secret, sealed to `holders`, and its id.
pub fn sealed(name: &str, id: &str, holders: &BTreeSet<NodeId>, set_at: &Value) -> Value {
    let select = SECRETS.iter().find(|(known, _)| *known == name).map(|(_, select)| *select);
    let keys: BTreeMap<String, &str> =
        holders.iter().map(|node| (node.to_string(), "sealed")).collect();
    json!({"select": select, "values": {id: {"set_at": set_at, "sealed": "", "keys": keys}}})
}

/// Who of `members` is meant by the secret `name`.
pub fn meant(name: &str, members: impl IntoIterator<Item = NodeId>) -> BTreeSet<NodeId> {
    members.into_iter().filter(|node| is_meant(name, *node)).collect()
}

fn seen(node: NodeId, name: &Name) -> Member {
    Member {
        id: node,
        name: name.clone(),
        address: Ipv6Addr::LOCALHOST,
        status: Status::Alive,
        server_type: String::new(),
        build: String::new(),
        protocol: 1,
        dc: name.clone(),
        compute_type: String::new(),
        endpoints: Vec::new(),
        nat: raptor::model::nat::NatKind::default(),
        via: None,
        rtt_ms: None,
        joined_at: raptor::model::time::Timestamp::from_millis(0),
        labels: [(ZONE.to_owned(), zone(node).to_owned())].into(),
    }
}

/// What is due, and `me`'s to do, as an agent decides it.
fn own_share(
    records: &Records,
    statuses: &BTreeMap<NodeId, (Status, Moment)>,
    me: NodeId,
) -> Vec<Resealing> {
    let known: BTreeMap<NodeId, Member> = records
        .members
        .iter()
        .filter(|(node, _)| **node == me || statuses.contains_key(*node))
        .map(|(node, admission)| (*node, seen(*node, &admission.name)))
        .collect();
    let candidates = records.members.iter().map(|(node, admission)| {
        let seen = known.get(node);
        (*node, Candidate { name: &admission.name, role: Role::Full, seen })
    });
    let parties = Parties {
        members: candidates.collect(),
        gone: records.gone.iter().map(|(node, name)| (*node, name)).collect(),
        recovery: BTreeSet::new(),
    };
    let alive = statuses.iter().filter(|(_, (status, _))| *status == Status::Alive);
    let living: BTreeSet<NodeId> = alive.map(|(node, _)| *node).chain([me]).collect();
    let mut due = resealings(&records.secrets, &parties);
    due.retain(|resealing| {
        let value = records.secrets[&resealing.secret].current();
        value.and_then(|(_, value)| sealer(resealing, value, &parties, &living)) == Some(me)
    });
    due
}

impl World {
    /// Does an agent's share of sealing, as its event loop does after each change.
    pub fn reseal(&mut self, who: usize) {
        let machine = &mut self.machines[who];
        let (me, run, wall, full) =
            (machine.id(), machine.run, machine.wall(self.now), machine.disk_full);
        let Some(agent) = &mut machine.agent else { return };
        let records = agent.shared_records();
        if full || records.secrets.is_empty() || !records.members.contains_key(&me) {
            return;
        }
        let statuses = agent.gossip.statuses();
        if agent
            .sealed
            .as_ref()
            .is_some_and(|(seen, known)| Rc::ptr_eq(seen, &records) && *known == statuses)
        {
            return;
        }
        agent.sealed = None;
        let due = own_share(&records, &statuses, me);
        if due.is_empty() {
            agent.sealed = Some((Rc::clone(&records), statuses));
            return;
        }
        for mut resealing in due {
            self.plant(&mut resealing, &records);
            let value = records.secrets[&resealing.secret].current();
            let opens = value.is_some_and(|(_, value)| value.keys.contains_key(&me));
            let sealed = resealing.add.iter().filter(|_| opens);
            let members = sealed.map(|node| (*node, "sealed".to_owned())).collect();
            let seals = NewSeals { members, ..NewSeals::default() };
            let changes = changes(&resealing, seals, wall);
            if changes.is_empty() {
                continue;
            }
            for node in &resealing.add {
                self.check_seal(resealing.secret.as_str(), *node, &records);
            }
            self.tell(|| format!("{who} seals {} anew", resealing.secret));
            self.write(who, run, &changes, Work::Nothing);
        }
    }

    /// What planted faults make of a decision.
    fn plant(&mut self, resealing: &mut Resealing, records: &Rc<Records>) {
        match self.fault {
            Some(Fault::SealsToAnybody) if resealing.needs_opening() => {
                let value = records.secrets[&resealing.secret].current();
                let holders = value.map(|(_, value)| &value.keys);
                let is_new = |node: &&NodeId| holders.is_none_or(|keys| !keys.contains_key(*node));
                resealing.add = records.members.keys().filter(is_new).copied().collect();
            }
            Some(Fault::KeepsOldSeals) => resealing.remove.clear(),
            _ => {}
        }
    }

    /// Nobody is ever sealed to who is not meant, or is out as far as the one who seals knows.
    pub fn check_seal(&mut self, secret: &str, node: NodeId, records: &Records) {
        if !is_meant(secret, node) || !records.members.contains_key(&node) {
            let why = format!("{} can read {secret}, which is not for it", node.short());
            self.violation.get_or_insert(why);
        }
    }

    /// A person gives a secret a new value.
    pub fn person_sets_a_secret(&mut self, who: usize, run: u64) {
        let (name, _) = SECRETS[self.random.random_range(0..SECRETS.len())];
        let id = format!("v{:016x}", self.random.random::<u64>());
        let wall = self.machines[who].wall(self.now);
        let Some(agent) = &mut self.machines[who].agent else { return };
        let records = agent.shared_records();
        let holders = meant(name, records.members.keys().copied());
        if holders.is_empty() {
            return;
        }
        self.tell(|| format!("a person at {who} sets the secret {name} to {id}"));
        self.first_seals.insert(id.clone(), holders.clone());
        let record = sealed(name, &id, &holders, &json!(wall));
        self.write(who, run, &[set(&["secrets", name], record)], Work::Nothing);
    }

    /// Who can open a secret is who may; who could and went is listed.
    pub fn secrets_are_kept(&mut self) -> Result<(), String> {
        let agent = self.machines.iter_mut().find_map(|machine| machine.agent.as_mut());
        let records = agent.ok_or("nobody is left")?.shared_records();
        for (name, record) in &records.secrets {
            let Some((id, value)) = record.current() else { continue };
            let listed = record.to_rotate();
            let holders: BTreeSet<NodeId> = value.keys.keys().copied().collect();
            let may = meant(name.as_str(), records.members.keys().copied());
            if let Some(node) = holders.difference(&may).next() {
                return Err(format!("{} can open {name}, and may not", node.short()));
            }
            if !holders.is_empty() && holders != may {
                return Err(format!("{} of {} hold {name}", holders.len(), may.len()));
            }
            if record.values.len() > 1 {
                return Err(format!("{name} has {} values", record.values.len()));
            }
            let first = self.first_seals.get(id).into_iter().flatten();
            for node in first.filter(|node| records.gone.contains_key(node)) {
                if !listed.contains_key(node) {
                    let node = node.short();
                    return Err(format!("nobody says that {node}, which went, knows {name}"));
                }
            }
        }
        Ok(())
    }
}
