//! Snapshot files: the whole document at one moment.
//!
//! Layout: magic 8 | crc32 of all that follows u32 | version u32 | genesis length u32 | genesis JSON |
//! blobs, each: length u32 | bytes. All numbers little-endian.

use bytes::Bytes;

use crate::config::document::Document;
use crate::config::document::blob::Blob;
use crate::model::cluster::Genesis;

const MAGIC: &[u8; 8] = b"raptSNAP";
const VERSION: u32 = 1;
const CHECKSUM_START: usize = 8;
const VERSION_START: usize = 12;
const HEADER_LENGTH: usize = 16;

/// What a snapshot holds.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) genesis: Genesis,
    pub(super) blobs: Vec<Blob>,
}

/// Why a snapshot cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not a snapshot, or one that ends early.
    #[error("not a whole snapshot")]
    Truncated,
    /// Written by a later build.
    #[error("version {0}; this build reads version 1")]
    Version(u32),
    /// The checksum differs.
    #[error("the checksum differs")]
    Checksum,
    /// Whole, but its content is wrong.
    #[error("the content cannot be read: {0}")]
    Content(String),
}

pub(super) fn encode(document: &Document) -> Result<Vec<u8>, SnapshotError> {
    let content = |error: &dyn std::fmt::Display| SnapshotError::Content(error.to_string());
    let genesis = serde_json::to_vec(document.genesis()).map_err(|error| content(&error))?;
    let mut body = Vec::new();
    let mut put = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).map_err(|error| content(&error))?;
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(bytes);
        Ok::<(), SnapshotError>(())
    };
    put(&genesis)?;
    for blob in document.blobs() {
        put(blob.encoded())?;
    }
    let mut encoded = Vec::with_capacity(HEADER_LENGTH + body.len());
    encoded.extend_from_slice(MAGIC);
    encoded.extend_from_slice(&[0; 4]);
    encoded.extend_from_slice(&VERSION.to_le_bytes());
    encoded.append(&mut body);
    let checksum = crc32fast::hash(&encoded[VERSION_START..]).to_le_bytes();
    encoded[CHECKSUM_START..VERSION_START].copy_from_slice(&checksum);
    Ok(encoded)
}

pub(super) fn decode(encoded: &Bytes) -> Result<Snapshot, SnapshotError> {
    if encoded.get(..8) != Some(MAGIC.as_slice()) {
        return Err(SnapshotError::Truncated);
    }
    let checksum = number(encoded, CHECKSUM_START)?;
    if encoded.get(VERSION_START..).map(crc32fast::hash) != Some(checksum) {
        return Err(SnapshotError::Checksum);
    }
    let version = number(encoded, VERSION_START)?;
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let mut place = HEADER_LENGTH;
    let mut take = || {
        let length = usize::try_from(number(encoded, place)?).unwrap_or(usize::MAX);
        let start = place + 4;
        let end = start.checked_add(length).filter(|end| *end <= encoded.len());
        place = end.ok_or(SnapshotError::Truncated)?;
        Ok::<_, SnapshotError>((encoded.slice(start..place), place))
    };
    let (genesis, mut end) = take()?;
    let content = |error: &dyn std::fmt::Display| SnapshotError::Content(error.to_string());
    let genesis = serde_json::from_slice(&genesis).map_err(|error| content(&error))?;
    let mut blobs = Vec::new();
    while end < encoded.len() {
        let (bytes, next) = take()?;
        // Each blob gets memory of its own, so that it does not hold the whole file.
        let bytes = Bytes::copy_from_slice(&bytes);
        blobs.push(Blob::decode(bytes).map_err(|error| content(&error))?);
        end = next;
    }
    Ok(Snapshot { genesis, blobs })
}

fn number(encoded: &[u8], place: usize) -> Result<u32, SnapshotError> {
    let bytes = encoded.get(place..).and_then(|rest| rest.first_chunk::<4>());
    bytes.map(|bytes| u32::from_le_bytes(*bytes)).ok_or(SnapshotError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::testing::{genesis, key, set, write};

    fn document() -> Document {
        let key = key(1);
        let mut document = Document::new(genesis(&key), 1);
        for index in 0..3 {
            write(&mut document, &key, &[set("config.a", index)]);
        }
        document
    }

    #[test]
    fn round_trips() {
        let document = document();
        let snapshot = decode(&encode(&document).unwrap().into()).unwrap();
        assert_eq!(&snapshot.genesis, document.genesis());
        assert_eq!(snapshot.blobs, document.blobs());
    }

    #[test]
    fn every_cut_and_every_flip_is_noticed() {
        let encoded = encode(&document()).unwrap();
        for index in 0..encoded.len() {
            assert!(decode(&encoded[..index].to_vec().into()).is_err(), "cut at {index}");
            let mut flipped = encoded.clone();
            flipped[index] ^= 0x10;
            assert!(decode(&flipped.into()).is_err(), "flip at {index}");
        }
    }

    #[test]
    fn no_bytes_panic() {
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let rest = [VERSION.to_le_bytes().as_slice(), bytes].concat();
            let checksum = crc32fast::hash(&rest).to_le_bytes();
            let encoded = [MAGIC.as_slice(), &checksum, &rest].concat();
            let _ = decode(&encoded.into());
        });
    }
}
