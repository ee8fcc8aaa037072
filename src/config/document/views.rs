//! The document's records, typed. A record that cannot be read is skipped and reported: nobody's
//! mistake may keep the others from reading the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::document::{Document, tree};
use crate::config::path::Path;
use crate::model::identity::NodeId;
use crate::model::machine::{IntentId, MachineRecord, MachineRecords, Tombstones};
use crate::model::member::Role;
use crate::model::name::Name;
use crate::model::secret::{SecretRecord, SecretRecords};
use crate::model::time::Timestamp;
use crate::model::upkeep::Tombstone;

/// Top-level key of the members' admissions, by node id.
pub const MEMBERS: &str = "members";
/// Top-level key of the machine records, by intent id.
pub const MACHINES: &str = "machines";
/// Top-level key of what remains of machines that went, by intent id.
pub const RETIRED: &str = "retired";
/// Top-level key of the open invitations, by ticket id.
pub const TICKETS: &str = "tickets";
/// Top-level key of the known SSH host keys, by host.
pub const HOST_KEYS: &str = "host_keys";
/// Top-level key of the sealed secrets, by name.
pub const SECRETS: &str = "secrets";

/// Top-level key of the recovery keys, by public half.
pub const RECOVERY: &str = "recovery";

/// Top-level key of what came of the backups, by the place's name.
pub const BACKUPS: &str = "backups";

/// Top-level key of the configuration's last layer.
pub const CONFIG: &str = "config";

/// `members.<node id>`: a machine's place in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Its name.
    pub name: Name,
    /// What it may do.
    #[serde(default)]
    pub role: Role,
    /// UDP addresses at which it was first reached.
    #[serde(default)]
    pub endpoints: Vec<SocketAddr>,
    /// When it was admitted.
    pub added_at: Timestamp,
    /// Whether it was put out again. The record stays, so that what it wrote can be attributed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evicted: bool,
    /// What a later build says besides.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// `tickets.<id>`: an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketRecord {
    /// The key whose holder may knock.
    pub key: NodeId,
    /// When it ends.
    pub expires_at: Timestamp,
    /// How often it may still be used.
    pub uses_left: u32,
    /// Who made it.
    pub created_by: NodeId,
    /// When it was made.
    pub created_at: Timestamp,
    /// What a later build says besides.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A record that was skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MalformedRecord {
    /// Where it stands.
    pub path: String,
    /// Why it cannot be read.
    pub why: String,
}

impl Document {
    /// The members: everybody admitted and not evicted.
    #[must_use]
    pub fn members(&self) -> BTreeMap<NodeId, Admission> {
        let mut members = self.admissions();
        members.retain(|_, admission| !admission.evicted);
        members
    }

    /// Every admission, the evicted members' too.
    #[must_use]
    pub fn admissions(&self) -> BTreeMap<NodeId, Admission> {
        self.records(MEMBERS, &mut Vec::new())
    }

    /// The machines, from the wish to the retirement.
    #[must_use]
    pub fn machines(&self) -> MachineRecords {
        self.records::<IntentId, MachineRecord>(MACHINES, &mut Vec::new())
    }

    /// What remains of machines that went.
    #[must_use]
    pub fn retired(&self) -> Tombstones {
        self.records::<IntentId, Tombstone>(RETIRED, &mut Vec::new())
    }

    /// The invitations by id, expired ones included.
    #[must_use]
    pub fn tickets(&self) -> BTreeMap<String, TicketRecord> {
        self.records(TICKETS, &mut Vec::new())
    }

    /// SSH host keys (OpenSSH `TYPE BASE64`) by host.
    #[must_use]
    pub fn host_keys(&self) -> BTreeMap<String, Vec<String>> {
        self.records(HOST_KEYS, &mut Vec::new())
    }

    /// The secrets, sealed.
    #[must_use]
    pub fn secrets(&self) -> SecretRecords {
        self.records::<Name, SecretRecord>(SECRETS, &mut Vec::new())
    }

    /// Public halves of the keys that open everything.
    #[must_use]
    pub fn recovery_keys(&self) -> BTreeSet<String> {
        match tree::read_key(&self.root(), RECOVERY) {
            Some(Value::Object(keys)) => keys.into_iter().map(|(key, _)| key).collect(),
            _ => BTreeSet::new(),
        }
    }

    /// The configuration's last layer; an empty object when nothing is set.
    #[must_use]
    pub fn config_layer(&self) -> Value {
        match tree::read_key(&self.root(), CONFIG) {
            Some(layer @ Value::Object(_)) => layer,
            _ => Value::Object(Map::new()),
        }
    }

    /// All records that the views skip.
    #[must_use]
    pub fn malformed(&self) -> Vec<MalformedRecord> {
        let mut malformed = Vec::new();
        self.records::<NodeId, Admission>(MEMBERS, &mut malformed);
        self.records::<IntentId, MachineRecord>(MACHINES, &mut malformed);
        self.records::<IntentId, Tombstone>(RETIRED, &mut malformed);
        self.records::<String, TicketRecord>(TICKETS, &mut malformed);
        self.records::<String, Vec<String>>(HOST_KEYS, &mut malformed);
        self.records::<Name, SecretRecord>(SECRETS, &mut malformed);
        malformed
    }

    fn records<K, V>(&self, section: &str, malformed: &mut Vec<MalformedRecord>) -> BTreeMap<K, V>
    where
        K: FromStr<Err: std::fmt::Display> + Ord,
        V: DeserializeOwned,
    {
        let section_value = tree::read_key(&self.root(), section).unwrap_or_default();
        read_records(section, section_value, malformed)
    }

    /// The full members in `after` that no blob has admitted yet.
    pub(super) fn newly_admitted(&self, after: &Value) -> Vec<NodeId> {
        let section = after.get(MEMBERS).cloned().unwrap_or_default();
        read_records::<NodeId, Admission>(MEMBERS, section, &mut Vec::new())
            .into_iter()
            .filter(|(node, admission)| {
                !admission.evicted && admission.role == Role::Full && !self.is_admitted(*node)
            })
            .map(|(node, _)| node)
            .collect()
    }
}

fn read_records<K, V>(
    section: &str,
    value: Value,
    malformed: &mut Vec<MalformedRecord>,
) -> BTreeMap<K, V>
where
    K: FromStr<Err: std::fmt::Display> + Ord,
    V: DeserializeOwned,
{
    let path = Path::root().join(section);
    let mut skip = |path: &Path, why: String| {
        malformed.push(MalformedRecord { path: path.to_string(), why });
    };
    let entries = match value {
        Value::Object(entries) => entries,
        Value::Null => return BTreeMap::new(),
        _ => {
            skip(&path, "not an object".to_owned());
            return BTreeMap::new();
        }
    };
    let mut records = BTreeMap::new();
    for (key, value) in entries {
        let place = path.join(key.as_str());
        match (key.parse::<K>(), serde_json::from_value::<V>(value)) {
            (Ok(key), Ok(record)) => {
                records.insert(key, record);
            }
            (Err(error), _) => skip(&place, error.to_string()),
            (_, Err(error)) => skip(&place, error.to_string()),
        }
    }
    records
}
