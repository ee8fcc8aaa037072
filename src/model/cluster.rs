//! What makes a cluster one cluster: its founder and a nonce, and the id that proves both.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};

use crate::model::identity::NodeId;
use crate::model::name::Name;

/// A cluster's first moment. Whoever holds a genesis can check that a document starts with it:
/// the founder's signature is the root of every later admission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The machine that founded the cluster.
    pub founder: NodeId,
    /// Drawn at random when the cluster is wished for: tells clusters of one name apart.
    pub nonce: u64,
    /// The cluster's name: its `DC` in the members table.
    pub name: Name,
}

impl Genesis {
    /// The id that follows from this genesis.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        ClusterId::derive(self.nonce, &self.name)
    }
}

/// A cluster's id: 16 bytes of a hash over nonce and name, written as 26 base32 digits.
///
/// It does not depend on the founder, so that the very first machine can carry it as a label before
/// it has a key. The founder is trusted because the whole [`Genesis`] comes from whoever lets a
/// machine in, not because of the id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId([u8; 16]);

impl ClusterId {
    /// The id of the cluster `name` that was wished for with `nonce`.
    #[must_use]
    pub fn derive(nonce: u64, name: &Name) -> Self {
        let mut hash = Sha512::new();
        hash.update(b"raptor/1 cluster\0");
        hash.update(nonce.to_le_bytes());
        hash.update(name.as_str().as_bytes());
        let digest = hash.finalize();
        let mut id = [0u8; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }

    /// The id's 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClusterId({self})")
    }
}

/// The text is not 26 base32 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cluster id (26 base32 digits)")]
pub struct ClusterIdError;

impl FromStr for ClusterId {
    type Err = ClusterIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE32_NOPAD
            .decode(text.to_ascii_uppercase().as_bytes())
            .map_err(|_| ClusterIdError)?;
        bytes.try_into().map(Self).map_err(|_| ClusterIdError)
    }
}

impl Serialize for ClusterId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ClusterId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(Self)
        }
    }
}
