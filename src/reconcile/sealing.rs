//! Who may hold which secret, and what is to be written when that and the seals differ.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::model::identity::NodeId;
use crate::model::label::Selector;
use crate::model::member::Member;
use crate::model::member::Role;
use crate::model::name::Name;
use crate::model::secret::SecretRecord;
use crate::model::secret::SecretRecords;
use crate::model::secret::SecretValue;

/// Why somebody who was put out may not hold a secret.
pub const PUT_OUT: &str = "it is no member any more";

/// Why a member may not hold a secret that it held.
pub const NOT_MEANT: &str = "the secret is not for it any more";

/// A member, as far as it matters here.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a Name,
    /// What it may do: only full members hold secrets.
    pub role: Role,
    /// What it is; none while it has said nothing of itself.
    pub seen: Option<&'a Member>,
}

impl Candidate<'_> {
    /// Whether it may hold a secret for `select`; none while that cannot be told.
    #[must_use]
    pub fn may_hold(&self, select: &Selector) -> Option<bool> {
        match (self.role, self.seen) {
            (Role::Worker, _) => Some(false),
            (Role::Full, _) if select.is_empty() => Some(true),
            (Role::Full, seen) => seen.map(|member| select.matches(member)),
        }
    }
}

/// Everybody, and the recovery keys.
#[derive(Debug, Clone, Default)]
pub struct Parties<'a> {
    /// The members.
    pub members: BTreeMap<NodeId, Candidate<'a>>,
    /// The names of those who were put out.
    pub gone: BTreeMap<NodeId, &'a Name>,
    /// Public halves of the recovery keys.
    pub recovery: BTreeSet<String>,
}

/// What is to be written about one secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealing {
    /// The secret.
    pub secret: Name,
    /// The value that counts.
    pub value: String,
    /// Members to seal its key to.
    pub add: Vec<NodeId>,
    /// Recovery keys to seal its key to.
    pub add_recovery: Vec<String>,
    /// Members that may not hold it any more: name and reason.
    pub remove: BTreeMap<NodeId, (Name, &'static str)>,
    /// Recovery keys that open nothing any more.
    pub remove_recovery: Vec<String>,
    /// Values that count no more.
    pub forget: Vec<String>,
}

impl Resealing {
    /// Whether it can be written by whoever can open the value, and by nobody else.
    #[must_use]
    pub fn needs_opening(&self) -> bool {
        !self.add.is_empty() || !self.add_recovery.is_empty()
    }

    /// Whether there is anything to be written that any full member can write.
    #[must_use]
    pub fn is_more_than_opening(&self) -> bool {
        !self.remove.is_empty() || !self.remove_recovery.is_empty() || !self.forget.is_empty()
    }

    fn is_nothing(&self) -> bool {
        !self.needs_opening() && !self.is_more_than_opening()
    }
}

/// What is to be written so that each secret can be opened by those who may hold it.
#[must_use]
pub fn resealings(secrets: &SecretRecords, parties: &Parties<'_>) -> Vec<Resealing> {
    let each = secrets.iter().filter_map(|(name, record)| resealing(name, record, parties));
    each.filter(|resealing| !resealing.is_nothing()).collect()
}

fn resealing(name: &Name, record: &SecretRecord, parties: &Parties<'_>) -> Option<Resealing> {
    let (current, value) = record.current()?;
    let may_hold = |candidate: &Candidate<'_>| candidate.may_hold(&record.select);
    let missing = parties.members.iter().filter(|(node, candidate)| {
        !value.keys.contains_key(node) && may_hold(candidate) == Some(true)
    });
    let surplus = value.keys.keys().filter_map(|node| match parties.members.get(node) {
        Some(candidate) if may_hold(candidate) != Some(false) => None,
        Some(candidate) => Some((*node, (candidate.name.clone(), NOT_MEANT))),
        // One that nobody has heard of may be a newcomer whose admission is on its way.
        None => Some((*node, ((*parties.gone.get(node)?).clone(), PUT_OUT))),
    });
    let sealed = |key: &&String| value.recovery.contains_key(*key);
    let wanted = |key: &&String| parties.recovery.contains(*key);
    // Without any recovery key in the document, those that there were are better than none.
    let keeps_all = parties.recovery.is_empty();
    Some(Resealing {
        secret: name.clone(),
        value: current.to_owned(),
        add: missing.map(|(node, _)| *node).collect(),
        add_recovery: parties.recovery.iter().filter(|key| !sealed(key)).cloned().collect(),
        remove: surplus.collect(),
        remove_recovery: value
            .recovery
            .keys()
            .filter(|key| !keeps_all && !wanted(key))
            .cloned()
            .collect(),
        forget: record.values.keys().filter(|id| *id != current).cloned().collect(),
    })
}

/// Who writes it: of the living members that can, the one with the lowest key. Two that see
/// different members alive both write, which does no harm. When no living member can open the value, any
/// of them writes what takes no opening: who went is out, and listed.
#[must_use]
pub fn sealer(
    resealing: &Resealing,
    value: &SecretValue,
    parties: &Parties<'_>,
    living: &BTreeSet<NodeId>,
) -> Option<NodeId> {
    let is_full =
        |node: &&NodeId| parties.members.get(node).is_some_and(|it| it.role == Role::Full);
    let mut full = living.iter().filter(is_full).copied();
    let opener = full.clone().find(|node| value.keys.contains_key(node));
    match opener {
        Some(opener) if resealing.needs_opening() => Some(opener),
        None if !resealing.is_more_than_opening() => None,
        _ => full.next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::testing::key;
    use crate::model::time::Timestamp;

    fn node(number: u64) -> NodeId {
        key(number).node_id()
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn member(number: u64, zone: &str) -> Member {
        let json = serde_json::json!({
            "id": node(number), "name": format!("m-{number}"), "address": "fc00::1",
            "status": "alive", "type": "headless", "build": "1", "protocol": 1, "dc": "default",
            "compute_type": "local", "endpoints": [], "via": null, "rtt_ms": null,
            "joined_at": Timestamp::default(), "labels": { "zone": zone },
        });
        serde_json::from_value(json).unwrap()
    }

    fn record(select: &str, holders: &[u64]) -> SecretRecord {
        let value = SecretValue {
            public: None,
            set_at: Timestamp::from_millis(2),
            sealed: String::new(),
            keys: holders.iter().map(|number| (node(*number), String::new())).collect(),
            recovery: [("age1old".to_owned(), String::new())].into(),
            exposed: BTreeMap::new(),
            rest: serde_json::Map::new(),
        };
        let older = SecretValue { set_at: Timestamp::from_millis(1), ..value.clone() };
        SecretRecord {
            select: Selector::try_from(select.to_owned()).unwrap(),
            values: [("b".to_owned(), older), ("a".to_owned(), value)].into(),
            ..SecretRecord::default()
        }
    }

    #[test]
    fn newcomers_are_taken_in_and_whoever_may_not_is_taken_out_and_told_of() {
        let names: Vec<Name> = (0..6).map(|number| name(&format!("m-{number}"))).collect();
        let home = member(2, "home");
        let away = member(3, "away");
        let candidate = |number: usize, role, seen| Candidate { name: &names[number], role, seen };
        let parties = Parties {
            members: [
                (node(1), candidate(1, Role::Full, None)),
                (node(2), candidate(2, Role::Full, Some(&home))),
                (node(3), candidate(3, Role::Full, Some(&away))),
                (node(4), candidate(4, Role::Worker, Some(&home))),
            ]
            .into(),
            gone: [(node(5), &names[5])].into(),
            recovery: ["age1new".to_owned()].into(),
        };
        let secrets: SecretRecords =
            [(name("all"), record("", &[1, 5])), (name("home"), record("zone=home", &[1, 3, 4]))]
                .into();
        let due = resealings(&secrets, &parties);
        let all = &due[0];
        assert_eq!(all.add.iter().collect::<BTreeSet<_>>(), [&node(2), &node(3)].into());
        assert_eq!(all.remove, [(node(5), (name("m-5"), PUT_OUT))].into());
        assert_eq!((&all.value[..], &all.forget[..]), ("a", &["b".to_owned()][..]));
        assert_eq!(all.add_recovery, ["age1new"]);
        assert_eq!(all.remove_recovery, ["age1old"]);
        let home = &due[1];
        assert_eq!(home.add, [node(2)]);
        // What the first one is, nobody knows at the moment: it keeps what it has.
        let out = [(node(3), (name("m-3"), NOT_MEANT)), (node(4), (name("m-4"), NOT_MEANT))];
        assert_eq!(home.remove, out.into());

        let value = secrets[&name("all")].current().unwrap().1;
        let living = [node(1), node(2), node(5)].into();
        assert_eq!(sealer(all, value, &parties, &living), Some(node(1)), "the only holder");
        let without = &[node(2), node(5)].into();
        assert_eq!(sealer(all, value, &parties, without), Some(node(2)), "who went is out");
        let only_in = Resealing { remove: BTreeMap::new(), ..all.clone() };
        let only_in = Resealing { remove_recovery: Vec::new(), forget: Vec::new(), ..only_in };
        assert_eq!(sealer(&only_in, value, &parties, without), None);
        let only_out = Resealing { add: Vec::new(), add_recovery: Vec::new(), ..all.clone() };
        assert_eq!(sealer(&only_out, value, &parties, &[node(2)].into()), Some(node(2)));
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        let names = [name("m-1")];
        let parties = Parties {
            members: [(node(1), Candidate { name: &names[0], role: Role::Full, seen: None })]
                .into(),
            ..Parties::default()
        };
        let mut sound = record("", &[1]);
        sound.values.remove("b");
        // A holder that is not known yet, and a recovery key where none is named, stay.
        sound.values.get_mut("a").unwrap().keys.insert(node(9), String::new());
        assert_eq!(resealings(&[(name("all"), sound)].into(), &parties), []);
    }
}
