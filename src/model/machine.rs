//! Machines: what is wanted of a back-end, and what a back-end gives.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::cluster::ClusterId;
use crate::model::destination::Destination;
use crate::model::identity::NodeId;
use crate::model::label::Labels;
use crate::model::name::Name;
use crate::model::time::Timestamp;
use crate::model::upkeep::Tombstone;
use crate::model::upkeep::Upkeep;

/// The id of the wish for a machine, written down before the machine is asked for and carried by
/// the machine as a label: 80 random bits as 16 lower-case base32 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IntentId([u8; 10]);

impl IntentId {
    /// Wraps random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 10]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for IntentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

impl fmt::Debug for IntentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "IntentId({self})")
    }
}

/// The text is not 16 base32 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an intent id (16 base32 digits)")]
pub struct IntentIdError;

impl FromStr for IntentId {
    type Err = IntentIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes =
            BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).map_err(|_| IntentIdError)?;
        bytes.try_into().map(Self).map_err(|_| IntentIdError)
    }
}

impl TryFrom<String> for IntentId {
    type Error = IntentIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<IntentId> for String {
    fn from(id: IntentId) -> Self {
        id.to_string()
    }
}

/// What a back-end is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineSpec {
    /// The wish this machine fulfils.
    pub intent: IntentId,
    /// The cluster it is for.
    pub cluster: ClusterId,
    /// The machine's name.
    pub name: Name,
    /// Labels to put on it besides the intent's and the cluster's.
    pub labels: Labels,
    /// Public SSH keys that may log in (OpenSSH lines); empty where the back-end needs none.
    pub authorized_keys: Vec<String>,
}

/// A machine as a back-end knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The back-end's own id: a container id, a folder, a cloud's server number.
    pub id: String,
    /// The wish it carries as its label.
    pub intent: IntentId,
    /// The cluster it carries as its label.
    pub cluster: ClusterId,
    /// Its name.
    pub name: Name,
    /// Whether it runs.
    pub running: bool,
    /// How to get onto it; none while the back-end cannot say yet.
    pub access: Option<Access>,
}

/// How to get onto a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Access {
    /// A process group of its own on this computer, with a home folder of its own.
    Local {
        /// That folder.
        home: PathBuf,
    },
    /// Through SSH.
    Ssh {
        /// Where to.
        destination: Destination,
        /// The host to go through.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Destination>,
        /// The secret key file to offer, when the user's own keys do not open it.
        identity_file: Option<PathBuf>,
        /// Host keys known beforehand (OpenSSH `TYPE BASE64`): the first connection is strict.
        #[serde(default)]
        host_keys: Vec<String>,
    },
}

/// A machine in the document: from the moment it is wanted until it is retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// Its name.
    pub name: Name,
    /// How it is got; `adopted` for one that was taken over.
    pub compute_type: String,
    /// What it is provisioned to be.
    pub server_type: String,
    /// Labels given by the user.
    #[serde(default)]
    pub labels: Labels,
    /// When it was wished for.
    pub created_at: Timestamp,
    /// The back-end's id, once there is a machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// How to get onto it, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Its key, once its agent has one. Like all that is not known yet it is not written at all:
    /// who takes a machine up of which it has not heard must not overwrite what others know of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// What the members do about it.
    #[serde(flatten)]
    pub upkeep: Upkeep,
    /// What a later build says besides.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The key in [`MachineRecord::rest`] that says whether a machine is meant to become a member.
const JOIN_KEY: &str = "join";

impl MachineRecord {
    /// Whether the machine is meant to become a member: unless it was asked for with `--no-join`.
    #[must_use]
    pub fn is_meant_to_join(&self) -> bool {
        self.rest.get(JOIN_KEY) != Some(&Value::Bool(false))
    }

    /// What remains of it when it goes at `now` for `reason`.
    #[must_use]
    pub fn tombstone(&self, now: Timestamp, reason: &str, failed: bool) -> Tombstone {
        Tombstone {
            name: self.name.clone(),
            compute_type: self.compute_type.clone(),
            rule: self.upkeep.rule.clone(),
            created_at: self.created_at,
            at: now,
            reason: reason.to_owned(),
            failed,
            rest: Map::new(),
        }
    }

    /// Says whether the machine is meant to become a member.
    pub fn set_meant_to_join(&mut self, join: bool) {
        self.rest.insert(JOIN_KEY.to_owned(), Value::Bool(join));
    }
}

/// What remains of machines that went, by the wish for each.
pub type Tombstones = BTreeMap<IntentId, Tombstone>;

/// The document's machines by the wish for each.
pub type MachineRecords = BTreeMap<IntentId, MachineRecord>;
