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

/// Most bytes of all authors whose admission is not known: keys cost nothing, so those who make
/// many share this room, and leave the rest to those who may write.
const STRANGERS_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most of their blobs.
const STRANGERS_COUNT_MAX: usize = 1024;

/// Sound blobs ahead of their turn: an earlier one, or their author's admission, is missing.
#[derive(Debug, Default)]
pub(super) struct Pending {
    blobs: BTreeMap<(NodeId, u64, u32), Blob>,
    bytes: usize,
}

impl Pending {
    /// Keeps `blob`; false when there is no room. `is_admitted` tells who may write.
    pub(super) fn insert(&mut self, blob: Blob, is_admitted: impl Fn(NodeId) -> bool) -> bool {
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
            || (!is_admitted(author) && !self.has_room_for_a_stranger(size, is_admitted))
        {
            return false;
        }
        self.bytes += size;
        self.blobs.insert(place, blob);
        true
    }

    fn has_room_for_a_stranger(&self, size: usize, is_admitted: impl Fn(NodeId) -> bool) -> bool {
        let strangers = self.blobs.iter().filter(|((author, _, _), _)| !is_admitted(*author));
        let (count, bytes) = strangers
            .fold((0, size), |(count, bytes), (_, blob)| (count + 1, bytes + blob.encoded().len()));
        count < STRANGERS_COUNT_MAX && bytes <= STRANGERS_BYTES_MAX
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::blob::Header;
    use crate::config::document::testing::{genesis, key};
    use crate::model::time::Timestamp;

    fn blob(author: u64, sequence: u32, payload: &[u8]) -> Blob {
        let header = Header {
            cluster: genesis(&key(0)).cluster_id(),
            author: key(author).node_id(),
            epoch: 1,
            sequence,
            time: Timestamp::from_millis(0),
            note: String::new(),
            paths: Vec::new(),
            admits: Vec::new(),
        };
        Blob::sign(header, payload, &key(author)).unwrap()
    }

    #[test]
    fn strangers_leave_room_for_those_who_may_write() {
        let member = key(0).node_id();
        let is_admitted = |author: NodeId| author == member;
        let mut pending = Pending::default();
        let large = vec![0; 256 * 1024];
        let kept = (1..=40).filter(|author| pending.insert(blob(*author, 1, &large), is_admitted));
        assert_eq!(kept.count(), 7, "strangers fill more than their share");
        for sequence in 1..=20 {
            assert!(pending.insert(blob(0, sequence, &large), is_admitted), "{sequence}");
        }
        // Once a stranger is admitted, its blobs are a member's.
        let newcomer = key(41).node_id();
        let is_admitted = |author: NodeId| author == member || author == newcomer;
        assert!(pending.insert(blob(41, 1, &large), is_admitted));
    }

    #[test]
    fn many_small_blobs_of_strangers_are_counted() {
        let mut pending = Pending::default();
        for sequence in 0..2 {
            let first = 600 * sequence;
            (first..first + 600).for_each(|sequence| {
                pending.insert(blob(1 + u64::from(first > 0), sequence + 1, b"x"), |_| false);
            });
        }
        assert_eq!(pending.len(), STRANGERS_COUNT_MAX);
    }
}
