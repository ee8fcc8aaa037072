//! Blobs: signed updates of the document, stored and passed on as they are.
//!
//! Layout: `version u8 | signature 64 | header length u32 LE | header (postcard) | payload`.
//! The signature covers everything but itself. See `docs/document.md`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::cluster::ClusterId;
use crate::model::identity::{NodeId, SecretKey, Signature, SigningDomain};
use crate::model::time::Timestamp;

/// Largest encoded blob in bytes.
pub const BLOB_SIZE_MAX: usize = 1024 * 1024;

/// Version of the layout.
pub const BLOB_VERSION: u8 = 1;

const SIGNATURE_START: usize = 1;
const LENGTH_START: usize = SIGNATURE_START + Signature::LENGTH;
const HEADER_START: usize = LENGTH_START + 4;

/// What a blob says about its payload; signed together with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The cluster whose document it changes.
    pub cluster: ClusterId,
    /// Who wrote it.
    pub author: NodeId,
    /// The author's run in which it was written: random, drawn whenever the document is opened.
    pub epoch: u64,
    /// Place among the author's blobs of this epoch, from 0 without gaps.
    pub sequence: u32,
    /// When, by the author's clock. Shown, never used to decide.
    pub time: Timestamp,
    /// Why, in the author's words.
    pub note: String,
    /// The paths that changed, as the author states them, for the log.
    pub paths: Vec<String>,
    /// Members that may write from here on. Grows only: see
    /// `docs/decisions/0001-admission-is-monotone.md`.
    pub admits: Vec<NodeId>,
}

/// A signed update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    header: Header,
    payload_start: usize,
    encoded: Bytes,
}

/// Why bytes are no blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Larger than [`BLOB_SIZE_MAX`].
    #[error("an update of {0} bytes; at most 1 MiB is accepted")]
    TooLarge(usize),
    /// Ends before its header does.
    #[error("an update that ends early")]
    Truncated,
    /// A layout of a later build.
    #[error("an update of version {0}; this build reads version 1")]
    Version(u8),
    /// The header cannot be read.
    #[error("an update whose header cannot be read: {0}")]
    Header(postcard::Error),
}

impl Blob {
    /// Signs `payload` under `header`.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`]; [`BlobError::Header`] never for a header that fits in memory.
    pub fn sign(header: Header, payload: &[u8], key: &SecretKey) -> Result<Self, BlobError> {
        let head = postcard::to_allocvec(&header).map_err(BlobError::Header)?;
        let size = HEADER_START + head.len() + payload.len();
        let too_large = || BlobError::TooLarge(size);
        let length = u32::try_from(head.len()).map_err(|_| too_large())?;
        if size > BLOB_SIZE_MAX {
            return Err(too_large());
        }
        let mut message = Vec::with_capacity(size);
        message.push(BLOB_VERSION);
        message.extend_from_slice(&length.to_le_bytes());
        message.extend_from_slice(&head);
        message.extend_from_slice(payload);
        let signature = key.sign(SigningDomain::Document, &message).to_bytes();
        let mut encoded = Vec::with_capacity(size);
        encoded.push(BLOB_VERSION);
        encoded.extend_from_slice(&signature);
        encoded.extend_from_slice(&message[1..]);
        Ok(Self { header, payload_start: HEADER_START + head.len(), encoded: encoded.into() })
    }

    /// Reads a blob's frame and header. The signature is not checked here: see
    /// [`Blob::is_signed_by_author`].
    ///
    /// # Errors
    /// As [`BlobError`] says.
    pub fn decode(encoded: Bytes) -> Result<Self, BlobError> {
        if encoded.len() > BLOB_SIZE_MAX {
            return Err(BlobError::TooLarge(encoded.len()));
        }
        match encoded.first() {
            None => return Err(BlobError::Truncated),
            Some(&BLOB_VERSION) => {}
            Some(&version) => return Err(BlobError::Version(version)),
        }
        let length: [u8; 4] = encoded
            .get(LENGTH_START..HEADER_START)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(BlobError::Truncated)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        let payload_start = HEADER_START.checked_add(length).ok_or(BlobError::Truncated)?;
        let head = encoded.get(HEADER_START..payload_start).ok_or(BlobError::Truncated)?;
        let header: Header = postcard::from_bytes(head).map_err(BlobError::Header)?;
        Ok(Self { header, payload_start, encoded })
    }

    /// Whether the author named in the header signed all of it.
    #[must_use]
    pub fn is_signed_by_author(&self) -> bool {
        let Some(signature) = self
            .encoded
            .get(SIGNATURE_START..LENGTH_START)
            .and_then(|bytes| <[u8; Signature::LENGTH]>::try_from(bytes).ok())
        else {
            return false;
        };
        let mut message = Vec::with_capacity(self.encoded.len());
        message.push(BLOB_VERSION);
        message.extend_from_slice(&self.encoded[LENGTH_START..]);
        let signature = Signature::from_bytes(signature);
        self.header.author.verify(SigningDomain::Document, &message, &signature)
    }

    /// What it says about itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The CRDT's update.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.encoded.get(self.payload_start..).unwrap_or_default()
    }

    /// The bytes as they are stored and sent.
    #[must_use]
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::testing::{genesis, key};

    fn blob() -> Blob {
        let key = key(1);
        let header = Header {
            cluster: genesis(&key).cluster_id(),
            author: key.node_id(),
            epoch: 7,
            sequence: 0,
            time: Timestamp::from_millis(1),
            note: "why".to_owned(),
            paths: vec!["a.b".to_owned()],
            admits: vec![],
        };
        Blob::sign(header, b"payload", &key).unwrap()
    }

    #[test]
    fn round_trips() {
        let blob = blob();
        let again = Blob::decode(blob.encoded().clone()).unwrap();
        assert_eq!(again, blob);
        assert_eq!(again.payload(), b"payload");
        assert!(again.is_signed_by_author());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let blob = blob();
        for index in 0..blob.encoded().len() {
            let mut bytes = blob.encoded().to_vec();
            bytes[index] ^= 1;
            if let Ok(forged) = Blob::decode(bytes.into()) {
                assert!(!forged.is_signed_by_author(), "byte {index}");
            }
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let blob = blob();
        for length in 0..blob.encoded().len() {
            if let Ok(cut) = Blob::decode(blob.encoded().slice(..length)) {
                assert!(!cut.is_signed_by_author(), "length {length}");
            }
        }
    }

    #[test]
    fn no_bytes_panic() {
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            if let Ok(blob) = Blob::decode(Bytes::copy_from_slice(bytes)) {
                assert!(!blob.is_signed_by_author());
            }
        });
    }
}
