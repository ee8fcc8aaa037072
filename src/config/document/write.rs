//! Writing: changes become one signed blob.

use loro::{ExportMode, LoroDoc};

use crate::config::change::Change;
use crate::config::document::blob::{Blob, Header};
use crate::config::document::error::DocumentError;
use crate::config::document::{Document, payload, peer_id, tree};
use crate::model::identity::{NodeId, SecretKey};
use crate::model::time::Timestamp;

/// Longest note in characters; the rest is cut off.
const NOTE_LENGTH_MAX: usize = 500;

/// Most paths that a blob states; more are told by their number.
const STATED_PATHS_MAX: usize = 50;

impl Document {
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
        let payload = payload.map_err(|error| DocumentError::Crdt(error.to_string()))?;
        // What the others would refuse is not written.
        payload::check(&payload).map_err(|fault| DocumentError::Crdt(fault.to_string()))?;
        Ok(Some(payload))
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

    fn crdt_counter(&self, author: NodeId, epoch: u64) -> i32 {
        self.crdt.oplog_vv().get(&peer_id(author, epoch)).copied().unwrap_or(0)
    }

    /// Makes the CRDT again from the blobs: the way back from a write that failed halfway.
    pub(super) fn rebuild(&mut self) {
        self.crdt = LoroDoc::new();
        let payloads: Vec<Vec<u8>> =
            self.blobs.iter().map(|blob| blob.payload().to_vec()).collect();
        // They were imported before, so they are accepted again.
        let _ = self.crdt.import_batch(&payloads);
    }
}
