//! Blobs that cannot be applied yet, in bounded memory.

use std::collections::BTreeMap;

use crate::config::document::blob::Blob;
use crate::model::identity::NodeId;

/// Most bytes that may wait.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most blobs that may wait.
const COUNT_MAX: usize = 4096;

/// Most blobs of one author that may wait, so that one cannot fill it for all.
const COUNT_OF_ONE_AUTHOR_MAX: usize = 1024;

/// Sound blobs ahead of their turn: an earlier one, or their author's admission, is missing.
#[derive(Debug, Default)]
pub(super) struct Pending {
    blobs: BTreeMap<(NodeId, u64, u32), Blob>,
    bytes: usize,
}

impl Pending {
    /// Keeps `blob`; false when there is no room.
    pub(super) fn insert(&mut self, blob: Blob) -> bool {
        let header = blob.header();
        let author = header.author;
        let place = (author, header.epoch, header.sequence);
        if self.blobs.contains_key(&place) {
            return true;
        }
        let size = blob.encoded().len();
        let of_author = self.blobs.range((author, 0, 0)..=(author, u64::MAX, u32::MAX)).count();
        if self.blobs.len() >= COUNT_MAX
            || self.bytes.saturating_add(size) > BYTES_MAX
            || of_author >= COUNT_OF_ONE_AUTHOR_MAX
        {
            return false;
        }
        self.bytes += size;
        self.blobs.insert(place, blob);
        true
    }

    /// Takes out a blob for which `is_due` holds of (author, epoch, sequence).
    pub(super) fn take_due(&mut self, is_due: impl Fn(NodeId, u64, u32) -> bool) -> Option<Blob> {
        let place =
            *self.blobs.keys().find(|(author, epoch, next)| is_due(*author, *epoch, *next))?;
        let blob = self.blobs.remove(&place)?;
        self.bytes = self.bytes.saturating_sub(blob.encoded().len());
        Some(blob)
    }

    pub(super) fn len(&self) -> usize {
        self.blobs.len()
    }
}
