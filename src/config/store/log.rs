//! Log files: blobs since a snapshot, each on disk before it is acknowledged.
//!
//! Layout: magic 8 | version u32, then records: length u32 | crc32 of the blob u32 | blob. All
//! numbers little-endian.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::config::document::blob::{BLOB_SIZE_MAX, BLOB_VERSION, Blob};
use crate::config::files::{FileError, open_or_create};

const MAGIC: &[u8; 8] = b"raptLOG\n";
const VERSION: u32 = 1;
pub(super) const HEADER_LENGTH: usize = 12;
const RECORD_HEADER_LENGTH: usize = 8;

pub(super) fn header() -> Vec<u8> {
    [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat()
}

/// What a log file holds.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// The whole records from the start.
    pub(super) blobs: Vec<Blob>,
    /// Bytes up to the end of the last of them; 0 when the header itself is not whole.
    pub(super) sound_length: usize,
    /// Whole records found behind a damaged one.
    pub(super) behind_damage: Vec<Blob>,
}

/// Reads as far as the content is sound, then looks for whole records behind the damage.
pub(super) fn recover(content: &Bytes) -> Recovered {
    let mut recovered = Recovered::default();
    if content.get(..HEADER_LENGTH) == Some(header().as_slice()) {
        recovered.sound_length = HEADER_LENGTH;
        while let Some((blob, end)) = record_at(content, recovered.sound_length) {
            recovered.blobs.push(blob);
            recovered.sound_length = end;
        }
    }
    let mut place = recovered.sound_length;
    while place < content.len() {
        match record_at(content, place) {
            Some((blob, end)) => {
                recovered.behind_damage.push(blob);
                place = end;
            }
            None => place += 1,
        }
    }
    recovered
}

/// The record that starts at `place`, and where it ends.
fn record_at(content: &Bytes, place: usize) -> Option<(Blob, usize)> {
    let number = |start: usize| {
        let bytes = content.get(start..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let length = usize::try_from(number(place)?).ok().filter(|length| *length <= BLOB_SIZE_MAX)?;
    let checksum = number(place + 4)?;
    let start = place + RECORD_HEADER_LENGTH;
    let blob = content.get(start..start + length)?;
    if blob.first() != Some(&BLOB_VERSION) || crc32fast::hash(blob) != checksum {
        return None;
    }
    let blob = Blob::decode(Bytes::copy_from_slice(blob)).ok()?;
    Some((blob, start + length))
}

/// A file as the log needs it; tests make it fail.
pub(super) trait LogFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

impl LogFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.seek(SeekFrom::Start(length))?;
        self.sync_all()
    }
}

/// The end of a log.
#[derive(Debug)]
pub(super) struct LogWriter<F> {
    path: PathBuf,
    file: F,
    /// Bytes that are on disk and sound.
    length: u64,
    /// Blobs whose write failed: the document has them, so they go before all later ones.
    backlog: Vec<Blob>,
    /// Whether bytes beyond `length` may be in the file.
    dirty: bool,
}

impl LogWriter<File> {
    /// Opens the log at `path`, cut to `length`.
    pub(super) fn open(path: &Path, length: u64) -> Result<Self, FileError> {
        let mut file = open_or_create(path).map_err(FileError::new("open", path))?;
        let current = file.metadata().map_err(FileError::new("open", path))?.len();
        if current == length {
            file.seek(SeekFrom::Start(length)).map_err(FileError::new("open", path))?;
        } else {
            file.truncate(length).map_err(FileError::new("cut", path))?;
        }
        Ok(Self::new(path, file, length))
    }
}

impl<F: LogFile> LogWriter<F> {
    pub(super) fn new(path: &Path, file: F, length: u64) -> Self {
        Self { path: path.to_owned(), file, length, backlog: Vec::new(), dirty: false }
    }

    /// Writes `blobs` and waits until the disk has them, all in one go. When that fails, the file
    /// is cut back and the blobs are kept for the next attempt.
    pub(super) fn append(&mut self, blobs: &[Blob]) -> Result<(), FileError> {
        self.backlog.extend_from_slice(blobs);
        if self.backlog.is_empty() && self.length > 0 {
            return Ok(());
        }
        let written = self.write_backlog();
        if written.is_err() {
            self.dirty = true;
            self.cut();
        }
        let added = written.map_err(FileError::new("write", &self.path))?;
        self.length += added;
        self.backlog.clear();
        Ok(())
    }

    fn write_backlog(&mut self) -> io::Result<u64> {
        if self.dirty {
            self.file.truncate(self.length)?;
            self.dirty = false;
        }
        let mut bytes = if self.length == 0 { header() } else { Vec::new() };
        for blob in &self.backlog {
            let blob = blob.encoded();
            let length = u32::try_from(blob.len()).map_err(io::Error::other)?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&crc32fast::hash(blob).to_le_bytes());
            bytes.extend_from_slice(blob);
        }
        self.file.append(&bytes)?;
        self.file.sync()?;
        Ok(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
    }

    fn cut(&mut self) {
        // When even this fails, the next append tries again before it writes.
        self.dirty = self.file.truncate(self.length).is_err();
    }

    /// What was not written, taken out.
    pub(super) fn into_backlog(self) -> Vec<Blob> {
        self.backlog
    }

    /// Puts back what another log could not write.
    pub(super) fn set_backlog(&mut self, backlog: Vec<Blob>) {
        self.backlog = backlog;
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn backlog_count(&self) -> usize {
        self.backlog.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;
    use crate::config::document::testing::{genesis, key, set, write};

    /// A disk of `room` bytes.
    #[derive(Default)]
    struct SmallDisk {
        content: Vec<u8>,
        room: usize,
        sync_fails: bool,
    }

    impl LogFile for SmallDisk {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            let fits = bytes.len().min(self.room - self.content.len());
            self.content.extend_from_slice(&bytes[..fits]);
            if fits < bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            if self.sync_fails { Err(io::Error::other("bad sector")) } else { Ok(()) }
        }

        fn truncate(&mut self, length: u64) -> io::Result<()> {
            self.content.truncate(usize::try_from(length).unwrap());
            Ok(())
        }
    }

    fn blobs(count: usize) -> Vec<Blob> {
        let key = key(1);
        let mut document = Document::new(genesis(&key), 1);
        (0..count)
            .map(|index| write(&mut document, &key, &[set("config.a", index)]).unwrap())
            .collect()
    }

    #[test]
    fn a_full_disk_is_said_and_nothing_half_written_stays() {
        let blobs = blobs(3);
        let record = RECORD_HEADER_LENGTH + blobs[0].encoded().len();
        for room in 0..HEADER_LENGTH + 3 * record {
            let mut log =
                LogWriter::new(Path::new("log"), SmallDisk { room, ..SmallDisk::default() }, 0);
            let outcomes: Vec<bool> =
                blobs.iter().map(|blob| log.append(std::slice::from_ref(blob)).is_ok()).collect();
            let acknowledged = outcomes.iter().filter(|done| **done).count();
            let recovered = recover(&log.file.content.clone().into());
            assert_eq!(recovered.blobs, blobs[..acknowledged], "room {room}");
            log.file.room = usize::MAX;
            log.append(&[]).unwrap();
            assert_eq!(recover(&log.file.content.clone().into()).blobs, blobs);
            assert_eq!(log.backlog_count(), 0);
        }
    }

    #[test]
    fn a_failed_sync_is_not_acknowledged_and_is_repeated() {
        let blobs = blobs(2);
        let disk = SmallDisk { room: usize::MAX, sync_fails: true, ..SmallDisk::default() };
        let mut log = LogWriter::new(Path::new("log"), disk, 0);
        assert!(log.append(&blobs[..1]).is_err());
        assert!(log.file.content.is_empty());
        log.file.sync_fails = false;
        log.append(&blobs[1..]).unwrap();
        assert_eq!(recover(&log.file.content.clone().into()).blobs, blobs);
    }

    #[test]
    fn no_bytes_panic() {
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let content = [header().as_slice(), bytes].concat();
            assert!(recover(&content.into()).blobs.is_empty());
            recover(&Bytes::copy_from_slice(bytes));
        });
    }
}
