//! Several signed updates in one frame: `count (4)`, then `length (4) | blob` each, big endian.

use bytes::Bytes;

use crate::config::document::blob::Blob;
use crate::config::document::blob::BlobError;

/// Most updates in one batch.
pub const BATCH_COUNT_MAX: usize = 10_000;

/// Why a batch is refused.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// It ends inside an update.
    #[error("a batch of updates ends early")]
    Truncated,
    /// More than [`BATCH_COUNT_MAX`] updates.
    #[error("a batch of {0} updates; at most 10000 are accepted")]
    TooMany(usize),
    /// An update is no update.
    #[error("a batch holds a broken update")]
    Blob(#[source] BlobError),
}

/// The batch's bytes.
#[must_use]
pub fn encode_blobs(blobs: &[Blob]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let count = blobs.len().min(BATCH_COUNT_MAX);
    bytes.extend_from_slice(&u32::try_from(count).unwrap_or(0).to_be_bytes());
    for blob in &blobs[..count] {
        let blob = blob.encoded();
        bytes.extend_from_slice(&u32::try_from(blob.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(blob);
    }
    bytes
}

/// Reads what [`encode_blobs`] wrote. Nothing is believed yet: the document checks each update.
///
/// # Errors
/// As [`BatchError`] says.
pub fn decode_blobs(bytes: &[u8]) -> Result<Vec<Blob>, BatchError> {
    let (count, mut rest) = take_length(bytes)?;
    if count > BATCH_COUNT_MAX {
        return Err(BatchError::TooMany(count));
    }
    let mut blobs = Vec::new();
    for _ in 0..count {
        let (length, after) = take_length(rest)?;
        let (blob, after) = after.split_at_checked(length).ok_or(BatchError::Truncated)?;
        blobs.push(Blob::decode(Bytes::copy_from_slice(blob)).map_err(BatchError::Blob)?);
        rest = after;
    }
    Ok(blobs)
}

fn take_length(bytes: &[u8]) -> Result<(usize, &[u8]), BatchError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(BatchError::Truncated)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| BatchError::Truncated)?;
    Ok((length, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_can_arrive_as_a_batch() {
        assert!(decode_blobs(&encode_blobs(&[])).unwrap().is_empty());
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let _ = decode_blobs(bytes);
        });
    }
}
