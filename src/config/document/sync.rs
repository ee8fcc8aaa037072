//! Taking in what others wrote, and giving what they lack.

use loro::LoroDoc;

use crate::config::document::blob::Blob;
use crate::config::document::error::{Applied, DocumentError};
use crate::config::document::guard::guard;
use crate::config::document::payload;
use crate::config::document::versions::Versions;
use crate::config::document::{Document, peer_id};

impl Document {
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
            let admitted = &self.admitted;
            let kept = self.pending.insert(blob, |author| admitted.contains(&author));
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
    /// checked again; everything else is. Gives back what does not fit.
    pub fn restore(&mut self, blobs: Vec<Blob>) -> Vec<DocumentError> {
        let mut refused = Vec::new();
        let mut accepted = Vec::new();
        for blob in blobs {
            let header = blob.header();
            let (author, epoch, sequence) = (header.author, header.epoch, header.sequence);
            if header.cluster != self.cluster {
                refused.push(DocumentError::OtherCluster { author });
            } else if self.held(author, epoch, sequence).is_some() {
            } else if !self.is_due(author, epoch, sequence) {
                let admitted = &self.admitted;
                self.pending.insert(blob, |author| admitted.contains(&author));
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
        let imported =
            guard(|| self.crdt.import_batch(&accepted).map_err(|error| error.to_string()));
        if let Err(why) = imported.and_then(|result| result) {
            refused.push(DocumentError::Crdt(why));
        }
        refused
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

    fn take_due(&mut self) -> Option<Blob> {
        let (admitted, chains) = (&self.admitted, &self.chains);
        self.pending.take_due(|author, epoch, sequence| {
            let length = chains.get(&(author, epoch)).map_or(0, |chain| chain.places.len());
            admitted.contains(&author) && usize::try_from(sequence).is_ok_and(|next| next == length)
        })
    }

    fn import(&mut self, blob: Blob) -> Result<(), DocumentError> {
        let counter = self.check_payload(&blob)?;
        let imported =
            guard(|| self.crdt.import(blob.payload()).map_err(|error| error.to_string()));
        if let Err(why) = imported.and_then(|result| result) {
            self.rebuild();
            return Err(malformed(&blob, why));
        }
        self.record(blob, counter);
        Ok(())
    }

    /// Checks that a payload writes in its author's name only and follows the one before; gives
    /// the counter after it.
    fn check_payload(&self, blob: &Blob) -> Result<i32, DocumentError> {
        let header = blob.header();
        payload::check(blob.payload()).map_err(|fault| malformed(blob, fault.to_string()))?;
        let peer = peer_id(header.author, header.epoch);
        let meta = guard(|| LoroDoc::decode_import_blob_meta(blob.payload(), true))
            .and_then(|result| result.map_err(|error| error.to_string()))
            .map_err(|why| malformed(blob, why))?;
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
}

fn malformed(blob: &Blob, why: String) -> DocumentError {
    let header = blob.header();
    DocumentError::Malformed { author: header.author, sequence: header.sequence, why }
}
