//! The replicated document: what is wanted, on every machine, written by any of them.
//!
//! A [`Document`] is in memory and pure. Every write is a signed [`blob::Blob`]; applying the same
//! blobs in any order gives the same document. [`crate::config::store`] keeps it on disk.

pub mod blob;
pub mod error;
mod guard;
pub mod log;
mod payload;
mod pending;
mod sync;
mod tree;
pub mod versions;
pub mod views;
mod write;

#[cfg(test)]
mod eviction_tests;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use loro::{LoroDoc, LoroMap};
use serde_json::Value;
use sha2::{Digest, Sha512};

use crate::config::document::blob::Blob;
use crate::config::document::pending::Pending;
use crate::config::document::versions::Versions;
use crate::config::path::Path;
use crate::model::cluster::{ClusterId, Genesis};
use crate::model::identity::NodeId;

pub use error::{Applied, DocumentError};

/// The one root of the CRDT.
const ROOT: &str = "document";

/// The replicated document of one cluster.
pub struct Document {
    genesis: Genesis,
    cluster: ClusterId,
    epoch: u64,
    crdt: LoroDoc,
    /// Applied blobs, in an order in which they can be applied again.
    blobs: Vec<Blob>,
    chains: BTreeMap<(NodeId, u64), Chain>,
    /// Every key that was ever admitted.
    admitted: BTreeSet<NodeId>,
    pending: Pending,
}

/// One author's blobs of one epoch.
#[derive(Debug, Default)]
struct Chain {
    /// Places in `blobs`, by sequence.
    places: Vec<usize>,
    /// The CRDT counter with which the next blob must start.
    counter: i32,
}

impl Document {
    /// An empty document of the cluster that `genesis` began: its founder may write at once,
    /// everybody else when a blob admits it. `epoch` must be drawn at random for every opening,
    /// so that a machine that lost its unsaved tail never numbers two updates alike.
    #[must_use]
    pub fn new(genesis: Genesis, epoch: u64) -> Self {
        let cluster = genesis.cluster_id();
        let admitted = BTreeSet::from([genesis.founder]);
        Self {
            genesis,
            cluster,
            epoch,
            crdt: LoroDoc::new(),
            blobs: Vec::new(),
            chains: BTreeMap::new(),
            admitted,
            pending: Pending::default(),
        }
    }

    /// Whose document it is.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The whole document.
    #[must_use]
    pub fn value(&self) -> Value {
        tree::read(&self.root())
    }

    /// The value at `path`.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<Value> {
        match path.keys().split_first() {
            None => Some(self.value()),
            Some((first, rest)) => {
                let rest = Path::from_keys(rest.iter().cloned()).ok()?;
                rest.find(&tree::read_key(&self.root(), first)?).cloned()
            }
        }
    }

    /// All applied blobs, in an order in which a new document accepts them.
    #[must_use]
    pub fn blobs(&self) -> &[Blob] {
        &self.blobs
    }

    /// How many blobs wait.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Whether `node` may write, or ever could.
    #[must_use]
    pub fn is_admitted(&self, node: NodeId) -> bool {
        self.admitted.contains(&node)
    }

    /// What this document holds.
    #[must_use]
    pub fn versions(&self) -> Versions {
        let mut versions = Versions::default();
        for (&(author, epoch), chain) in &self.chains {
            let next = u32::try_from(chain.places.len()).unwrap_or(u32::MAX);
            versions.set(author, epoch, next);
        }
        versions
    }

    fn root(&self) -> LoroMap {
        self.crdt.get_map(ROOT)
    }

    fn held(&self, author: NodeId, epoch: u64, sequence: u32) -> Option<&Blob> {
        let chain = self.chains.get(&(author, epoch))?;
        let place = chain.places.get(usize::try_from(sequence).ok()?)?;
        self.blobs.get(*place)
    }

    fn next_sequence(&self, author: NodeId, epoch: u64) -> u32 {
        let length = self.chains.get(&(author, epoch)).map_or(0, |chain| chain.places.len());
        u32::try_from(length).unwrap_or(u32::MAX)
    }

    fn is_due(&self, author: NodeId, epoch: u64, sequence: u32) -> bool {
        self.is_admitted(author) && self.next_sequence(author, epoch) == sequence
    }

    fn record(&mut self, blob: Blob, counter: i32) {
        let header = blob.header();
        self.admitted.extend(header.admits.iter().copied());
        let chain = self.chains.entry((header.author, header.epoch)).or_default();
        chain.places.push(self.blobs.len());
        chain.counter = counter;
        self.blobs.push(blob);
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Document")
            .field("cluster", &self.cluster)
            .field("blobs", &self.blobs.len())
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

/// The CRDT's name for one author in one epoch: the first 8 bytes of SHA-512(author || epoch).
fn peer_id(author: NodeId, epoch: u64) -> u64 {
    let mut hash = Sha512::new();
    hash.update(author.as_bytes());
    hash.update(epoch.to_le_bytes());
    let digest = hash.finalize();
    let mut id = [0u8; 8];
    id.copy_from_slice(&digest[..8]);
    // The CRDT keeps the highest number for itself.
    u64::from_le_bytes(id).min(u64::MAX - 1)
}
