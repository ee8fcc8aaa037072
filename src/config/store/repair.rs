//! Reading a store that a crash or a bad disk may have damaged.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::document::blob::Blob;
use crate::config::files::{FileError, write_atomic};
use crate::config::store::log;
use crate::config::store::snapshot::{self, Snapshot, SnapshotError};
use crate::config::store::{
    GENESIS_FILE, StoreError, generations, length, log_path, read_if_there, snapshot_path,
};
use crate::model::cluster::Genesis;

/// Something that was damaged, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepairNote {
    /// A record that was being written when the machine stopped; it was never acknowledged.
    TornTail {
        /// The log.
        path: PathBuf,
        /// How many bytes were cut off.
        bytes: usize,
    },
    /// A record was damaged after it had been written.
    DamagedLog {
        /// The log.
        path: PathBuf,
        /// Where the damage begins.
        offset: usize,
        /// Whole records found behind it.
        recovered: usize,
        /// Where a copy of the whole log was put.
        copy: PathBuf,
    },
    /// A snapshot could not be used; the one before and the logs since were.
    DamagedSnapshot {
        /// The snapshot.
        path: PathBuf,
        /// Why.
        why: SnapshotError,
        /// What it is named now.
        copy: PathBuf,
    },
    /// A stored update does not fit the others. Other members will send it again.
    Refused {
        /// Why.
        why: String,
    },
}

impl fmt::Display for RepairNote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TornTail { path, bytes } => write!(
                formatter,
                "{}: cut off {bytes} bytes of a write that was interrupted",
                path.display()
            ),
            Self::DamagedLog { path, offset, recovered, copy } => write!(
                formatter,
                "{}: damaged at byte {offset}; {recovered} updates behind it were recovered, \
                 the damaged log is kept as {}",
                path.display(),
                copy.display()
            ),
            Self::DamagedSnapshot { path, why, copy } => write!(
                formatter,
                "{}: {why}; went back to the one before and the logs since, it is kept as {}",
                path.display(),
                copy.display()
            ),
            Self::Refused { why } => write!(formatter, "left out a stored update: {why}"),
        }
    }
}

/// All that could be read.
pub(super) struct Found {
    pub(super) genesis: Genesis,
    pub(super) blobs: Vec<Blob>,
    /// The newest log's generation.
    pub(super) generation: u64,
    /// How much of the newest log is sound.
    pub(super) log_length: u64,
    pub(super) snapshot_length: u64,
    pub(super) notes: Vec<RepairNote>,
    /// Whether what was read must be written down anew.
    pub(super) needs_new_generation: bool,
}

pub(super) fn read(folder: &Path) -> Result<Found, StoreError> {
    let mut notes = Vec::new();
    let base = read_newest_snapshot(folder, &mut notes)?;
    let mut needs_new_generation = !notes.is_empty();
    let logs = generations(folder, "log");
    let mut found = Found {
        genesis: base.snapshot.genesis,
        blobs: base.snapshot.blobs,
        generation: base.generation.max(1),
        log_length: 0,
        snapshot_length: base.length,
        notes: Vec::new(),
        needs_new_generation: false,
    };
    for generation in logs.into_iter().filter(|generation| *generation >= base.generation) {
        let path = log_path(folder, generation);
        let Some(content) = read_if_there(&path)? else { continue };
        let recovered = log::recover(&content);
        found.generation = generation.max(found.generation);
        found.log_length = u64::try_from(recovered.sound_length).unwrap_or(u64::MAX);
        let surplus = content.len() - recovered.sound_length;
        if !recovered.behind_damage.is_empty() {
            let copy = path.with_extension("damaged");
            write_atomic(&copy, &content)?;
            notes.push(RepairNote::DamagedLog {
                path,
                offset: recovered.sound_length,
                recovered: recovered.behind_damage.len(),
                copy,
            });
            needs_new_generation = true;
        } else if surplus > 0 {
            notes.push(RepairNote::TornTail { path, bytes: surplus });
        }
        found.blobs.extend(recovered.blobs);
        found.blobs.extend(recovered.behind_damage);
    }
    Ok(Found { notes, needs_new_generation, ..found })
}

struct Base {
    snapshot: Snapshot,
    generation: u64,
    length: u64,
}

/// The newest snapshot that can be read; without any, the genesis alone.
fn read_newest_snapshot(folder: &Path, notes: &mut Vec<RepairNote>) -> Result<Base, StoreError> {
    for generation in generations(folder, "snapshot").into_iter().rev() {
        let path = snapshot_path(folder, generation);
        let Some(content) = read_if_there(&path)? else { continue };
        match snapshot::decode(&content) {
            Ok(snapshot) => return Ok(Base { snapshot, generation, length: length(&content) }),
            Err(SnapshotError::Version(version)) => {
                return Err(StoreError::Newer { path, version });
            }
            Err(why) => {
                let copy = path.with_extension("damaged");
                fs::rename(&path, &copy).map_err(FileError::new("rename", &path))?;
                notes.push(RepairNote::DamagedSnapshot { path, why, copy });
            }
        }
    }
    let unreadable = || StoreError::Unreadable { folder: folder.to_owned() };
    let genesis = read_if_there(&folder.join(GENESIS_FILE))?.ok_or_else(unreadable)?;
    let genesis = serde_json::from_slice(&genesis).map_err(|_| unreadable())?;
    Ok(Base { snapshot: Snapshot { genesis, blobs: Vec::new() }, generation: 0, length: 0 })
}
