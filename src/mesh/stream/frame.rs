//! Messages on a stream: each behind its length in four bytes, most significant first.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Memory is taken in steps of this as data arrives, so that a length costs nobody anything.
const STEP_BYTES: usize = 64 * 1024;

/// Bytes of the length.
const HEADER_BYTES: usize = 4;

/// Why a message did not pass.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than the reader allows, or than four bytes can say.
    #[error("a message of {length} bytes exceeds the limit of {limit}")]
    TooLong {
        /// The message's length in bytes.
        length: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// The stream ended within a message.
    #[error("the stream ended {missing} bytes before the end of a message")]
    Cut {
        /// Bytes that did not come.
        missing: usize,
    },
    /// The stream failed.
    #[error("the stream failed")]
    Stream(#[source] io::Error),
}

/// Writes one message. Does not flush.
///
/// # Errors
/// [`FrameError::TooLong`] beyond 4 GiB, [`FrameError::Stream`].
pub async fn write_frame<W>(writer: &mut W, message: &[u8]) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin + ?Sized,
{
    let length = u32::try_from(message.len()).map_err(|_| FrameError::TooLong {
        length: message.len(),
        limit: usize::try_from(u32::MAX).unwrap_or(usize::MAX),
    })?;
    writer.write_all(&length.to_be_bytes()).await.map_err(FrameError::Stream)?;
    writer.write_all(message).await.map_err(FrameError::Stream)
}

/// Reads one message of at most `limit` bytes; none when the stream ended before one began.
///
/// # Errors
/// [`FrameError::TooLong`] before anything of the message is read, [`FrameError::Cut`],
/// [`FrameError::Stream`].
pub async fn read_frame<R>(reader: &mut R, limit: usize) -> Result<Option<Bytes>, FrameError>
where
    R: AsyncRead + Unpin + ?Sized,
{
    let header = read_up_to(reader, HEADER_BYTES).await?;
    if header.is_empty() {
        return Ok(None);
    }
    let header: [u8; HEADER_BYTES] = header
        .as_ref()
        .try_into()
        .map_err(|_| FrameError::Cut { missing: HEADER_BYTES - header.len() })?;
    let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(FrameError::TooLong { length, limit });
    }
    let message = read_up_to(reader, length).await?;
    if message.len() < length {
        return Err(FrameError::Cut { missing: length - message.len() });
    }
    Ok(Some(message.freeze()))
}

/// Reads `length` bytes, or what there is before the end.
async fn read_up_to<R>(reader: &mut R, length: usize) -> Result<BytesMut, FrameError>
where
    R: AsyncRead + Unpin + ?Sized,
{
    let mut bytes = BytesMut::new();
    let mut rest = reader.take(u64::try_from(length).unwrap_or(u64::MAX));
    while bytes.len() < length {
        bytes.reserve((length - bytes.len()).min(STEP_BYTES));
        if rest.read_buf(&mut bytes).await.map_err(FrameError::Stream)? == 0 {
            break;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn written(messages: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            write_frame(&mut bytes, message).now_or_never().unwrap().unwrap();
        }
        bytes
    }

    fn read(bytes: &mut &[u8], limit: usize) -> Result<Option<Bytes>, FrameError> {
        read_frame(bytes, limit).now_or_never().unwrap()
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        let long = vec![7; 3 * STEP_BYTES + 1];
        let bytes = written(&[b"one", b"", &long]);
        let mut rest = bytes.as_slice();
        assert_eq!(read(&mut rest, LIMIT).unwrap().unwrap(), "one");
        assert_eq!(read(&mut rest, LIMIT).unwrap().unwrap(), "");
        assert_eq!(read(&mut rest, LIMIT).unwrap().unwrap(), long);
        assert!(read(&mut rest, LIMIT).unwrap().is_none());
    }

    #[test]
    fn a_long_message_is_refused_by_its_length() {
        let mut rest: &[u8] = &u32::MAX.to_be_bytes();
        let error = read(&mut rest, 1_000).unwrap_err();
        assert_eq!(error.to_string(), "a message of 4294967295 bytes exceeds the limit of 1000");
        let exact = written(&[&[1; 1_000]]);
        assert_eq!(read(&mut exact.as_slice(), 1_000).unwrap().unwrap().len(), 1_000);
    }

    #[test]
    fn memory_grows_with_what_arrives() {
        let claim = u32::try_from(LIMIT).unwrap().to_be_bytes();
        let stream = [claim.as_slice(), &[9; 10]].concat();
        assert!(matches!(
            read(&mut stream.as_slice(), LIMIT),
            Err(FrameError::Cut { missing }) if missing == LIMIT - 10
        ));
        let taken = read_up_to(&mut [9u8; 10].as_slice(), LIMIT).now_or_never().unwrap().unwrap();
        assert!(taken.capacity() <= 2 * STEP_BYTES);
    }

    #[test]
    fn a_cut_header_is_no_message() {
        assert!(matches!(
            read(&mut [0u8, 0].as_slice(), LIMIT),
            Err(FrameError::Cut { missing: 2 })
        ));
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        bolero::check!().with_iterations(2_000).for_each(|bytes: &[u8]| {
            let (mut rest, mut again) = (bytes, Vec::new());
            while let Ok(Some(message)) = read(&mut rest, 256) {
                assert!(message.len() <= 256);
                again.extend(written(&[&message]));
            }
            assert!(bytes.starts_with(&again), "what was read says what was there");
        });
    }
}
