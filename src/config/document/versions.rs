//! How much of every author's writing a document holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::identity::NodeId;

/// For each author and epoch the sequence number that comes next. Two documents with equal
/// versions hold the same blobs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Versions(BTreeMap<(NodeId, u64), u32>);

impl Versions {
    /// The next sequence number of `author` in `epoch`; 0 when nothing is held.
    #[must_use]
    pub fn next(&self, author: NodeId, epoch: u64) -> u32 {
        self.0.get(&(author, epoch)).copied().unwrap_or(0)
    }

    /// States that everything before `next` is held.
    pub fn set(&mut self, author: NodeId, epoch: u64, next: u32) {
        self.0.insert((author, epoch), next);
    }

    /// Whether everything in `other` is held here too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(&(author, epoch), &next)| self.next(author, epoch) >= next)
    }

    /// The form in which peers send it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing plain numbers into memory cannot fail; nothing held is a sound answer, too.
        postcard::to_allocvec(&self.0).unwrap_or_default()
    }

    /// Reads what [`Versions::encode`] wrote.
    ///
    /// # Errors
    /// When it is not that.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(bytes).map(Self)
    }

    /// A hash over all of it (SHA-256): peers compare it before they send the whole.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for ((author, epoch), next) in &self.0 {
            hash.update(author.as_bytes());
            hash.update(epoch.to_le_bytes());
            hash.update(next.to_le_bytes());
        }
        hash.finalize().into()
    }
}
