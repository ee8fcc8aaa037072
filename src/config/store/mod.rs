//! The document on disk: the only code that touches the state folder.
//!
//! A folder holds generations: `snapshot-N` is the document at one moment, `log-N` the blobs
//! since. The generation before the newest is kept, so that one bad snapshot loses nothing.
//! `genesis.json` alone is enough to read the logs again. Formats: `docs/document.md`.

mod log;
mod repair;
pub mod snapshot;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::Value;

use bytes::Bytes;

use crate::config::document::Document;
use crate::config::document::blob::Blob;
use crate::config::files::{FileError, create_folder, sync_folder, write_atomic};
use crate::config::store::log::LogWriter;
use crate::config::store::snapshot::SnapshotError;

pub use repair::RepairNote;

/// A log is folded into a snapshot when it is longer than this and than the snapshot, in bytes.
const LOG_LENGTH_MAX: u64 = 1024 * 1024;

const GENESIS_FILE: &str = "genesis.json";

/// The document's folder, open for writing. The caller makes sure that nobody else has it open.
#[derive(Debug)]
pub struct DocumentStore {
    folder: PathBuf,
    generation: u64,
    log: LogWriter<File>,
    snapshot_length: u64,
}

/// A store that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: DocumentStore,
    /// What it holds.
    pub document: Document,
    /// What was found damaged, and what was done about it.
    pub notes: Vec<RepairNote>,
}

/// Why the store cannot be used. After a failed [`DocumentStore::append_all`] it still can.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is a document already.
    #[error("{folder} holds a document already")]
    Exists {
        /// The folder.
        folder: PathBuf,
    },
    /// There is none, or nothing of it can be read.
    #[error("{folder} holds no document that can be read")]
    Unreadable {
        /// The folder.
        folder: PathBuf,
    },
    /// Written by a later build.
    #[error("{path} is of version {version}; this build reads version 1")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The document cannot be written as a snapshot.
    #[error("the document cannot be saved")]
    Snapshot(#[source] SnapshotError),
}

impl DocumentStore {
    /// Whether `folder` holds a document, whole or not.
    #[must_use]
    pub fn exists(folder: &Path) -> bool {
        folder.join(GENESIS_FILE).exists() || !generations(folder, "snapshot").is_empty()
    }

    /// Begins a store with all of `document`; durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::File`].
    pub fn create(folder: &Path, document: &Document) -> Result<Self, StoreError> {
        if Self::exists(folder) {
            return Err(StoreError::Exists { folder: folder.to_owned() });
        }
        create_folder(folder)?;
        // The first snapshot is empty and the blobs go into the log: the log can be read with
        // the genesis alone, so even the first generation survives a bad snapshot.
        let empty = Document::new(document.genesis().clone(), 0);
        let content = snapshot::encode(&empty).map_err(StoreError::Snapshot)?;
        let genesis = serde_json::to_vec_pretty(document.genesis())
            .map_err(|error| StoreError::Snapshot(SnapshotError::Content(error.to_string())))?;
        let mut log = LogWriter::open(&log_path(folder, 1), 0)?;
        log.append(document.blobs())?;
        write_atomic(&snapshot_path(folder, 1), &content)?;
        write_atomic(&folder.join(GENESIS_FILE), &genesis)?;
        let snapshot_length = length(&content);
        Ok(Self { folder: folder.to_owned(), generation: 1, log, snapshot_length })
    }

    /// Reads what `folder` holds, repairs what is damaged, and says so. `epoch` is a random
    /// number for what this run writes: see [`Document::new`].
    ///
    /// # Errors
    /// As [`StoreError`] says; nothing is lost then that was there before.
    pub fn open(folder: &Path, epoch: u64) -> Result<Opened, StoreError> {
        let found = repair::read(folder)?;
        let mut notes = found.notes;
        let mut document = Document::new(found.genesis, epoch);
        let refused = document.restore(found.blobs);
        notes.extend(
            refused.into_iter().map(|error| RepairNote::Refused { why: error.to_string() }),
        );
        let log = LogWriter::open(&log_path(folder, found.generation), found.log_length)?;
        let mut store = Self {
            folder: folder.to_owned(),
            generation: found.generation,
            log,
            snapshot_length: found.snapshot_length,
        };
        if found.needs_new_generation {
            store.compact(&document)?;
        }
        Ok(Opened { store, document, notes })
    }

    /// Stores a blob; it is durable when this returns.
    ///
    /// # Errors
    /// As [`DocumentStore::append_all`].
    pub fn append(&mut self, blob: &Blob) -> Result<(), StoreError> {
        self.append_all(std::slice::from_ref(blob))
    }

    /// Stores blobs, in the order in which the document took them, with one wait for the disk;
    /// all are durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::File`] (see [`FileError::is_disk_full`]): none of them may be acknowledged.
    /// They are kept and go first with the next append, which may also be of no blobs at all.
    pub fn append_all(&mut self, blobs: &[Blob]) -> Result<(), StoreError> {
        Ok(self.log.append(blobs)?)
    }

    /// How many blobs wait for the disk after a failed append.
    #[must_use]
    pub fn backlog_count(&self) -> usize {
        self.log.backlog_count()
    }

    /// Whether the log has grown long enough to be folded into a snapshot.
    #[must_use]
    pub fn is_compaction_due(&self) -> bool {
        self.log.length() > LOG_LENGTH_MAX.max(self.snapshot_length)
    }

    /// Folds the log into a new snapshot when it has grown long; says whether it did.
    ///
    /// # Errors
    /// [`StoreError::File`]; the store goes on with what it has.
    pub fn compact_if_due(&mut self, document: &Document) -> Result<bool, StoreError> {
        let due = self.is_compaction_due();
        if due {
            self.compact(document)?;
        }
        Ok(due)
    }

    /// Begins a new generation with all of `document`, and removes those before the last.
    ///
    /// # Errors
    /// [`StoreError::File`]; the store goes on with what it has.
    pub fn compact(&mut self, document: &Document) -> Result<(), StoreError> {
        let next = self.generation + 1;
        let content = snapshot::encode(document).map_err(StoreError::Snapshot)?;
        // From here on blobs go into the new log, whatever becomes of the new snapshot: a log is
        // read after its own snapshot and after any earlier one.
        let log = LogWriter::open(&log_path(&self.folder, next), 0)?;
        sync_folder(&self.folder)?;
        let backlog = std::mem::replace(&mut self.log, log).into_backlog();
        self.generation = next;
        let written = write_atomic(&snapshot_path(&self.folder, next), &content);
        if let Err(error) = written {
            self.log.set_backlog(backlog);
            return Err(error.into());
        }
        self.snapshot_length = length(&content);
        self.remove_old();
        Ok(())
    }

    /// Removes what is older than the last but one snapshot.
    fn remove_old(&self) {
        let snapshots = generations(&self.folder, "snapshot");
        let Some(oldest_kept) = snapshots.iter().rev().nth(1).copied() else {
            return;
        };
        for (kind, path) in
            [("snapshot", snapshot_path as fn(&Path, u64) -> PathBuf), ("log", log_path)]
        {
            for generation in generations(&self.folder, kind) {
                if generation < oldest_kept {
                    // A file that stays costs room and nothing else; the next compaction tries again.
                    let _ = fs::remove_file(path(&self.folder, generation));
                }
            }
        }
    }
}

/// Writes the document's value as readable JSON, keys sorted.
///
/// # Errors
/// [`FileError`]; an earlier export stays.
pub fn export(document: &Value, path: &Path) -> Result<(), FileError> {
    let mut text = format!("{document:#}");
    text.push('\n');
    write_atomic(path, text.as_bytes())
}

fn snapshot_path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("snapshot-{generation}"))
}

fn log_path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("log-{generation}"))
}

/// The generations of which there is a file of `kind`, oldest first.
fn generations(folder: &Path, kind: &str) -> Vec<u64> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut generations: Vec<u64> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.strip_prefix(kind)?.strip_prefix('-')?.parse().ok()
        })
        .collect();
    generations.sort_unstable();
    generations
}

fn length(content: &[u8]) -> u64 {
    u64::try_from(content.len()).unwrap_or(u64::MAX)
}

/// A file's content; none when there is no such file.
fn read_if_there(path: &Path) -> Result<Option<Bytes>, FileError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content.into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", path)(error)),
    }
}
