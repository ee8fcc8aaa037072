//! What a machine observes of itself. Owned and signed by it, versioned, lost with it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::identity::{NodeId, SecretKey, Signature, SigningDomain};
use crate::model::label::Labels;
use crate::model::name::Name;
use crate::model::nat::NatKind;
use crate::model::reach::Reach;
use crate::model::time::Timestamp;

/// One machine's facts. Unknown fields of a later build are kept in `rest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Whose facts these are.
    pub node: NodeId,
    /// Grows with every change, across restarts: milliseconds since 1970 at the time of change,
    /// or one more than the last.
    pub version: u64,
    /// The machine's name.
    pub name: Name,
    /// Version of the running build.
    pub build: String,
    /// Version of the wire it speaks.
    pub protocol: u32,
    /// How the machine was got: `local`, `docker`, ... ; `adopted` when it was taken over.
    pub compute_type: String,
    /// What it was provisioned to be.
    pub server_type: String,
    /// Labels given by the user.
    #[serde(default)]
    pub labels: Labels,
    /// UDP addresses at which it may be reached, best first.
    #[serde(default)]
    pub endpoints: Vec<SocketAddr>,
    /// What stands between it and the others.
    #[serde(default)]
    pub nat: NatKind,
    /// Which links it has.
    #[serde(default, deserialize_with = "Reach::lenient")]
    pub reach: Reach,
    /// The one member that a `tree` machine links to.
    #[serde(default)]
    pub parent: Option<NodeId>,
    /// Where its `sshd` answers on the machine itself, when one does.
    #[serde(default)]
    pub ssh_port: Option<u16>,
    /// Login that `raptor ssh` should use.
    #[serde(default)]
    pub ssh_user: Option<String>,
    /// Operating system, for people: `Debian GNU/Linux 13 (trixie)`.
    #[serde(default)]
    pub os: String,
    /// Processor architecture: `x86_64`.
    #[serde(default)]
    pub arch: String,
    /// When this machine first entered the cluster.
    pub joined_at: Timestamp,
    /// When its agent started.
    pub started_at: Timestamp,
    /// What a later build says besides.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Facts as they travel: the owner's own bytes and signature, so that whoever passes them on can
/// neither forge nor drop anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedFacts {
    node: NodeId,
    version: u64,
    json: Vec<u8>,
    signature: Vec<u8>,
}

/// Largest encoded facts that are accepted, in bytes.
pub const FACTS_SIZE_MAX: usize = 16 * 1024;

/// Why facts are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// Longer than [`FACTS_SIZE_MAX`].
    #[error("facts of {0} bytes; at most 16 KiB are accepted")]
    TooLarge(usize),
    /// The signature is not the owner's.
    #[error("the facts of {0:?} are not signed by it")]
    Forged(NodeId),
    /// Not JSON of the known shape, or the header disagrees with the body.
    #[error("the facts of {node:?} cannot be read: {why}")]
    Malformed {
        /// Whose facts.
        node: NodeId,
        /// What is wrong.
        why: String,
    },
}

impl SignedFacts {
    /// Signs `facts` with their owner's key.
    ///
    /// # Errors
    /// [`FactsError::TooLarge`], or [`FactsError::Malformed`] when `rest` cannot be written.
    pub fn sign(facts: &Facts, key: &SecretKey) -> Result<Self, FactsError> {
        let json = serde_json::to_vec(facts)
            .map_err(|error| FactsError::Malformed { node: facts.node, why: error.to_string() })?;
        if json.len() > FACTS_SIZE_MAX {
            return Err(FactsError::TooLarge(json.len()));
        }
        let signature = key.sign(SigningDomain::Facts, &json).to_bytes().to_vec();
        Ok(Self { node: facts.node, version: facts.version, json, signature })
    }

    /// Whose facts these claim to be.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The version they claim.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Checks size and signature, then reads.
    ///
    /// # Errors
    /// As [`FactsError`] says.
    pub fn open(&self) -> Result<Facts, FactsError> {
        if self.json.len() > FACTS_SIZE_MAX {
            return Err(FactsError::TooLarge(self.json.len()));
        }
        let signature: [u8; Signature::LENGTH] =
            self.signature.as_slice().try_into().map_err(|_| FactsError::Forged(self.node))?;
        let signature = Signature::from_bytes(signature);
        if !self.node.verify(SigningDomain::Facts, &self.json, &signature) {
            return Err(FactsError::Forged(self.node));
        }
        let malformed = |why: String| FactsError::Malformed { node: self.node, why };
        let facts: Facts =
            serde_json::from_slice(&self.json).map_err(|error| malformed(error.to_string()))?;
        if facts.node != self.node || facts.version != self.version {
            return Err(malformed("header and body disagree".to_owned()));
        }
        Ok(facts)
    }
}
