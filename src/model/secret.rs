//! Secrets as they stand in the document: sealed, with whom they are for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::identity::NodeId;
use crate::model::label::Selector;
use crate::model::name::Name;
use crate::model::time::Timestamp;

/// `secrets.<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecretRecord {
    /// Which full members may hold it; empty: all.
    #[serde(default)]
    pub select: Selector,
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Its values by id: one, or several that were set apart from each other.
    #[serde(default)]
    pub values: BTreeMap<String, SecretValue>,
    /// Who could read a value and is to read it no more, as earlier builds wrote it down: one value
    /// for each, of those that two halves of a cut network wrote.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed: BTreeMap<NodeId, Exposure>,
    /// What a later build says besides.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A value of a secret. It is sealed to a key of its own, and that key to each holder: taking one
/// more in writes one line, and two members that do so at once do not disturb each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretValue {
    /// When it was set: of several the latest counts.
    pub set_at: Timestamp,
    /// The public half, where it is one half of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<String>,
    /// The value, sealed to the value's key: an age file in base64.
    pub sealed: String,
    /// The value's key, sealed to each member that holds it: age files in base64.
    #[serde(default)]
    pub keys: BTreeMap<NodeId, String>,
    /// The same for each recovery key, by its public half.
    #[serde(default)]
    pub recovery: BTreeMap<String, String>,
    /// Who could read it and is to read it no more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed: BTreeMap<NodeId, Exposure>,
    /// What a later build says besides.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// That somebody knows a value who may not hold it any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    /// That machine's name.
    pub name: Name,
    /// Which value it knows.
    pub value: String,
    /// Why it may not hold it: `put out`, ...
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

/// Secrets by name.
pub type SecretRecords = BTreeMap<Name, SecretRecord>;

impl SecretRecord {
    /// The value that counts, with its id.
    #[must_use]
    pub fn current(&self) -> Option<(&str, &SecretValue)> {
        let latest = self.values.iter().max_by_key(|(id, value)| (value.set_at, id.as_str()));
        latest.map(|(id, value)| (id.as_str(), value))
    }

    /// Who knows the value that counts, and may not: it should be changed where it is used.
    #[must_use]
    pub fn to_rotate(&self) -> BTreeMap<NodeId, &Exposure> {
        let Some((current, value)) = self.current() else { return BTreeMap::new() };
        let earlier = self.exposed.iter().filter(|(_, exposure)| exposure.value == current);
        earlier.chain(&value.exposed).map(|(node, exposure)| (*node, exposure)).collect()
    }
}
