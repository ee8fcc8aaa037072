//! The replicated document: what is wanted, on every machine, written by any of them.
//!
//! A [`Document`] is in memory and pure. Every write is a signed [`blob::Blob`]; applying the same
//! blobs in any order gives the same document. [`crate::config::store`] keeps it on disk.

pub mod blob;
pub mod log;
mod pending;
mod tree;
pub mod versions;
pub mod views;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use loro::{ExportMode, LoroDoc, LoroMap};
use serde_json::Value;
use sha2::{Digest, Sha512};

use crate::config::change::{Change, ChangeError};
use crate::config::document::blob::{Blob, BlobError, Header};
use crate::config::document::pending::Pending;
use crate::config::document::versions::Versions;
use crate::config::path::Path;
use crate::model::cluster::{ClusterId, Genesis};
use crate::model::identity::{NodeId, SecretKey};
use crate::model::time::Timestamp;

/// The one root of the CRDT.
const ROOT: &str = "document";

/// Longest note in characters; the rest is cut off.
const NOTE_LENGTH_MAX: usize = 500;

/// Most paths that a blob states; more are told by their number.
const STATED_PATHS_MAX: usize = 50;

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

/// What became of a blob.
#[derive(Debug)]
pub enum Applied {
    /// It is part of the document.
    Applied {
        /// What is new and must be stored: the blob itself, then those that had waited for it.
        blobs: Vec<Blob>,
        /// Why some that had waited were refused after all.
        refused: Vec<DocumentError>,
    },
    /// It was there already.
    Known,
    /// It waits for an earlier one, or for its author's admission. It is not to be stored.
    Waiting,
}

/// Why a write or a blob is refused.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// A change that the document cannot hold.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A frame that cannot be made or read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// For another cluster's document.
    #[error("an update of {author:?} for another cluster")]
    OtherCluster {
        /// Who wrote it.
        author: NodeId,
    },
    /// Not signed by the author that it names.
    #[error("an update that {author:?} did not sign")]
    Forged {
        /// Who is said to have written it.
        author: NodeId,
    },
    /// This machine's key is not admitted, so nobody would accept what it writes.
    #[error("{author:?} is not admitted to the cluster and cannot write its document")]
    NotAdmitted {
        /// The key.
        author: NodeId,
    },
    /// Two different updates with one number: the key is used by two machines at once.
    #[error("{author:?} wrote two different updates {sequence} in epoch {epoch}")]
    Conflict {
        /// Who wrote it.
        author: NodeId,
        /// In which run.
        epoch: u64,
        /// Its number.
        sequence: u32,
    },
    /// The payload is no update, or writes more than its author's own.
    #[error("update {sequence} of {author:?} cannot be applied: {why}")]
    Malformed {
        /// Who wrote it.
        author: NodeId,
        /// Its number.
        sequence: u32,
        /// What is wrong.
        why: String,
    },
    /// No room among the updates that wait.
    #[error("too many updates wait for earlier ones; one of {author:?} was let go")]
    PendingFull {
        /// Who wrote it.
        author: NodeId,
    },
    /// The CRDT failed on our own write.
    #[error("the document could not be written: {0}")]
    Crdt(String),
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

    /// Makes `changes` together and signs them as one blob, which is not durable until the store
    /// has it and must not be sent before. None when the document says all of it already.
    ///
    /// # Errors
    /// As [`DocumentError`] says; nothing is changed then.
    pub fn write(
        &mut self,
        key: &SecretKey,
        now: Timestamp,
        note: &str,
        changes: &[Change],
    ) -> Result<Option<Blob>, DocumentError> {
        let author = key.node_id();
        if !self.is_admitted(author) {
            return Err(DocumentError::NotAdmitted { author });
        }
        let mut after = self.value();
        changes.iter().try_for_each(|change| change.apply(&mut after))?;
        let admits = self.newly_admitted(&after);
        let written = self.write_crdt(author, changes);
        let signed = written.and_then(|payload| {
            payload.map(|payload| self.sign(key, now, note, changes, admits, &payload)).transpose()
        });
        match signed {
            Ok(Some(blob)) => {
                let counter = self.crdt_counter(author, self.epoch);
                self.record(blob.clone(), counter);
                Ok(Some(blob))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.rebuild();
                Err(error)
            }
        }
    }

    /// Performs the changes and exports them; none when they made no difference.
    fn write_crdt(
        &self,
        author: NodeId,
        changes: &[Change],
    ) -> Result<Option<Vec<u8>>, DocumentError> {
        let crdt = |error: loro::LoroError| DocumentError::Crdt(error.to_string());
        self.crdt.set_peer_id(peer_id(author, self.epoch)).map_err(crdt)?;
        let before = self.crdt.oplog_vv();
        let root = self.root();
        changes.iter().try_for_each(|change| tree::apply(&root, change)).map_err(crdt)?;
        self.crdt.commit();
        if self.crdt.oplog_vv() == before {
            return Ok(None);
        }
        let payload = self.crdt.export(ExportMode::updates(&before));
        payload.map(Some).map_err(|error| DocumentError::Crdt(error.to_string()))
    }

    fn sign(
        &self,
        key: &SecretKey,
        now: Timestamp,
        note: &str,
        changes: &[Change],
        admits: Vec<NodeId>,
        payload: &[u8],
    ) -> Result<Blob, DocumentError> {
        let author = key.node_id();
        let mut paths: Vec<String> =
            changes.iter().take(STATED_PATHS_MAX).map(|change| change.path().to_string()).collect();
        if changes.len() > STATED_PATHS_MAX {
            paths.push(format!("... and {} more", changes.len() - STATED_PATHS_MAX));
        }
        let header = Header {
            cluster: self.cluster,
            author,
            epoch: self.epoch,
            sequence: self.next_sequence(author, self.epoch),
            time: now,
            note: note.chars().take(NOTE_LENGTH_MAX).collect(),
            paths,
            admits,
        };
        Ok(Blob::sign(header, payload, key)?)
    }

    /// Takes in a blob from wherever it came.
    ///
    /// # Errors
    /// As [`DocumentError`] says; the document is as it was.
    pub fn apply(&mut self, blob: Blob) -> Result<Applied, DocumentError> {
        let header = blob.header();
        let (author, epoch, sequence) = (header.author, header.epoch, header.sequence);
        if header.cluster != self.cluster {
            return Err(DocumentError::OtherCluster { author });
        }
        if let Some(held) = self.held(author, epoch, sequence) {
            return if held.encoded() == blob.encoded() {
                Ok(Applied::Known)
            } else if blob.is_signed_by_author() {
                Err(DocumentError::Conflict { author, epoch, sequence })
            } else {
                Err(DocumentError::Forged { author })
            };
        }
        if !blob.is_signed_by_author() {
            return Err(DocumentError::Forged { author });
        }
        if !self.is_due(author, epoch, sequence) {
            let kept = self.pending.insert(blob);
            return if kept {
                Ok(Applied::Waiting)
            } else {
                Err(DocumentError::PendingFull { author })
            };
        }
        self.import(blob.clone())?;
        let (mut blobs, mut refused) = (vec![blob], Vec::new());
        while let Some(next) = self.take_due() {
            match self.import(next.clone()) {
                Ok(()) => blobs.push(next),
                Err(error) => refused.push(error),
            }
        }
        Ok(Applied::Applied { blobs, refused })
    }

    /// Takes in blobs that this machine stored after it had checked them. Their signatures are not
    /// checked again; everything else is. Gives back what no longer fits.
    pub(crate) fn restore(&mut self, blobs: Vec<Blob>) -> Vec<DocumentError> {
        let mut refused = Vec::new();
        let mut accepted = Vec::new();
        for blob in blobs {
            let header = blob.header();
            let (author, epoch, sequence) = (header.author, header.epoch, header.sequence);
            if header.cluster != self.cluster {
                refused.push(DocumentError::OtherCluster { author });
            } else if self.held(author, epoch, sequence).is_some() {
            } else if !self.is_due(author, epoch, sequence) {
                self.pending.insert(blob);
            } else {
                match self.check_payload(&blob) {
                    Ok(counter) => {
                        accepted.push(blob.payload().to_vec());
                        self.record(blob, counter);
                    }
                    Err(error) => refused.push(error),
                }
            }
        }
        if let Err(error) = self.crdt.import_batch(&accepted) {
            refused.push(DocumentError::Crdt(error.to_string()));
        }
        refused
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

    /// The blobs that the holder of `theirs` lacks, in an order in which it can apply them: at
    /// least one if any, and no more once they exceed `limit_bytes`.
    #[must_use]
    pub fn missing(&self, theirs: &Versions, limit_bytes: usize) -> Vec<Blob> {
        let mut places: Vec<usize> = self
            .chains
            .iter()
            .flat_map(|(&(author, epoch), chain)| {
                let next = usize::try_from(theirs.next(author, epoch)).unwrap_or(usize::MAX);
                chain.places.get(next..).unwrap_or_default()
            })
            .copied()
            .collect();
        places.sort_unstable();
        let mut bytes = 0;
        places
            .iter()
            .filter_map(|&place| self.blobs.get(place))
            .take_while(|blob| {
                let first = bytes == 0;
                bytes += blob.encoded().len();
                first || bytes <= limit_bytes
            })
            .cloned()
            .collect()
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

    fn take_due(&mut self) -> Option<Blob> {
        let (admitted, chains) = (&self.admitted, &self.chains);
        self.pending.take_due(|author, epoch, sequence| {
            let length = chains.get(&(author, epoch)).map_or(0, |chain| chain.places.len());
            admitted.contains(&author) && usize::try_from(sequence).is_ok_and(|next| next == length)
        })
    }

    fn import(&mut self, blob: Blob) -> Result<(), DocumentError> {
        let counter = self.check_payload(&blob)?;
        if let Err(error) = self.crdt.import(blob.payload()) {
            return Err(malformed(&blob, error.to_string()));
        }
        self.record(blob, counter);
        Ok(())
    }

    /// Checks that a payload writes in its author's name only and follows the one before; gives
    /// the counter after it.
    fn check_payload(&self, blob: &Blob) -> Result<i32, DocumentError> {
        let header = blob.header();
        let peer = peer_id(header.author, header.epoch);
        let meta = LoroDoc::decode_import_blob_meta(blob.payload(), true)
            .map_err(|error| malformed(blob, error.to_string()))?;
        if meta.mode.is_snapshot() {
            return Err(malformed(blob, "it is a snapshot, not an update".to_owned()));
        }
        let start = meta.partial_start_vv.get(&peer).copied().unwrap_or(0);
        let expected =
            self.chains.get(&(header.author, header.epoch)).map_or(0, |chain| chain.counter);
        if start != expected {
            let why = format!("it starts at operation {start}, not {expected}");
            return Err(malformed(blob, why));
        }
        match (meta.partial_end_vv.len(), meta.partial_end_vv.get(&peer)) {
            (1, Some(&end)) if end > start => Ok(end),
            _ => Err(malformed(blob, "it writes in another's name".to_owned())),
        }
    }

    fn record(&mut self, blob: Blob, counter: i32) {
        let header = blob.header();
        self.admitted.extend(header.admits.iter().copied());
        let chain = self.chains.entry((header.author, header.epoch)).or_default();
        chain.places.push(self.blobs.len());
        chain.counter = counter;
        self.blobs.push(blob);
    }

    fn crdt_counter(&self, author: NodeId, epoch: u64) -> i32 {
        self.crdt.oplog_vv().get(&peer_id(author, epoch)).copied().unwrap_or(0)
    }

    /// Makes the CRDT again from the blobs: the way back from a write that failed halfway.
    fn rebuild(&mut self) {
        self.crdt = LoroDoc::new();
        let payloads: Vec<Vec<u8>> =
            self.blobs.iter().map(|blob| blob.payload().to_vec()).collect();
        // They were imported before; the CRDT holds whatever part of them it accepts again.
        let _ = self.crdt.import_batch(&payloads);
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

fn malformed(blob: &Blob, why: String) -> DocumentError {
    let header = blob.header();
    DocumentError::Malformed { author: header.author, sequence: header.sequence, why }
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
