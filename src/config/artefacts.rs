//! The files that members keep for each other, each called by the SHA-256 of its bytes. One that is
//! there is whole: it is written beside its place and moved once its bytes are the right ones.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::config::files::{FileError, create_folder, sync_folder};
use crate::config::home::Home;
use crate::config::schema::artefact::{ARTEFACT_BYTES_MAX, is_digest};
use crate::model::time::Timestamp;

/// Before the digest of a file that is being fetched, and of one that is being handed in.
const PART_PREFIX: &str = ".part-";
const NEW_PREFIX: &str = ".new-";

static NEXT_NEW: AtomicU64 = AtomicU64::new(0);

/// Why a file is not kept.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    /// It is called by something else.
    #[error("{0:?} is no SHA-256 (64 small hexadecimal digits)")]
    NoDigest(String),
    /// Its bytes are others.
    #[error("it has the SHA-256 {found}, not {expected}")]
    OtherBytes {
        /// By which it is called.
        expected: String,
        /// Which it has.
        found: String,
    },
    /// Nobody keeps that much.
    #[error("it is longer than {} MiB", ARTEFACT_BYTES_MAX >> 20)]
    TooLong,
    /// The disk says no.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Artefacts {
    folder: PathBuf,
}

impl Artefacts {
    /// Those of `home`; nothing is created.
    #[must_use]
    pub fn new(home: &Home) -> Self {
        Self { folder: home.artefacts_folder() }
    }

    /// Where the one called `digest` is, if it is there.
    #[must_use]
    pub fn find(&self, digest: &str) -> Option<PathBuf> {
        let path = self.folder.join(digest);
        (is_digest(digest) && path.is_file()).then_some(path)
    }

    /// Takes up a file where an earlier attempt left it. One caller at a time.
    ///
    /// # Errors
    /// [`ArtefactError`].
    pub fn resume(&self, digest: &str) -> Result<Incoming, ArtefactError> {
        self.open(digest, PART_PREFIX.to_owned() + digest, false)
    }

    /// Begins a file anew.
    ///
    /// # Errors
    /// [`ArtefactError`].
    pub fn begin(&self, digest: &str) -> Result<Incoming, ArtefactError> {
        let number = NEXT_NEW.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NEW_PREFIX}{}-{number}", std::process::id());
        self.open(digest, name, true)
    }

    /// Keeps `bytes`; by which digest.
    ///
    /// # Errors
    /// [`ArtefactError`].
    pub fn keep(&self, bytes: &[u8]) -> Result<String, ArtefactError> {
        let digest = digest_of(bytes);
        let mut incoming = self.begin(&digest)?;
        incoming.write(bytes)?;
        incoming.finish()?;
        Ok(digest)
    }

    fn open(&self, digest: &str, name: String, anew: bool) -> Result<Incoming, ArtefactError> {
        if !is_digest(digest) {
            return Err(ArtefactError::NoDigest(digest.chars().take(80).collect()));
        }
        create_folder(&self.folder)?;
        let path = self.folder.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(anew).mode(0o600);
        let mut file = options.open(&path).map_err(FileError::new("write", &path))?;
        let length = file.seek(SeekFrom::End(0)).map_err(FileError::new("write", &path))?;
        let place = self.folder.join(digest);
        Ok(Incoming { file, path, place, digest: digest.to_owned(), length })
    }

    /// Removes what is neither in `wanted` nor younger than `before`: what was handed in a moment ago
    /// is named only afterwards.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn prune(&self, wanted: &BTreeSet<&str>, before: Timestamp) -> Result<(), FileError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(FileError::new("read", &self.folder)(error)),
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let digest = name.strip_prefix(PART_PREFIX).unwrap_or(&name);
            let is_ours = is_digest(digest) || name.starts_with(NEW_PREFIX);
            if wanted.contains(digest) || !is_ours || is_younger(&entry.path(), before) {
                continue;
            }
            fs::remove_file(entry.path()).map_err(FileError::new("remove", &entry.path()))?;
        }
        Ok(())
    }
}

/// SHA-256 of `bytes`, as artefacts are called.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

fn is_younger(path: &Path, than: Timestamp) -> bool {
    let changed = path.metadata().and_then(|metadata| metadata.modified());
    let age = changed.ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    age.is_none_or(|age| age.as_millis() > u128::from(than.as_millis()))
}

/// A file on its way into the folder.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    path: PathBuf,
    place: PathBuf,
    digest: String,
    length: u64,
}

impl Incoming {
    /// Bytes that are there.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`ArtefactError`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ArtefactError> {
        self.length += bytes.len() as u64;
        if self.length > ARTEFACT_BYTES_MAX {
            self.discard();
            return Err(ArtefactError::TooLong);
        }
        self.file.write_all(bytes).map_err(FileError::new("write", &self.path))?;
        Ok(())
    }

    /// Forgets what is there.
    pub fn discard(&self) {
        // What stays is removed as unwanted later.
        let _ = fs::remove_file(&self.path);
    }

    /// Moves it to its place, when its bytes are those that it is called by; else it is removed.
    /// Reads the whole file: not for a thread that others wait for.
    ///
    /// # Errors
    /// [`ArtefactError`].
    pub fn finish(mut self) -> Result<(), ArtefactError> {
        let found = self.digest_on_disk().map_err(FileError::new("read", &self.path))?;
        if found != self.digest {
            self.discard();
            return Err(ArtefactError::OtherBytes { expected: self.digest, found });
        }
        self.file.sync_all().map_err(FileError::new("write", &self.path))?;
        fs::rename(&self.path, &self.place).map_err(FileError::new("move", &self.path))?;
        sync_folder(self.place.parent().unwrap_or(Path::new("/")))?;
        Ok(())
    }

    fn digest_on_disk(&mut self) -> io::Result<String> {
        let mut hash = Sha256::new();
        self.file.seek(SeekFrom::Start(0))?;
        io::copy(&mut Read::by_ref(&mut self.file), &mut hash)?;
        Ok(HEXLOWER.encode(&hash.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artefacts() -> (tempfile::TempDir, Artefacts) {
        let folder = tempfile::tempdir().unwrap();
        let artefacts = Artefacts::new(&Home::new(folder.path()));
        (folder, artefacts)
    }

    #[test]
    fn only_the_right_bytes_come_to_their_place_also_in_two_attempts() {
        let (_folder, artefacts) = artefacts();
        let digest = digest_of(b"one two");
        let mut incoming = artefacts.resume(&digest).unwrap();
        incoming.write(b"one ").unwrap();
        drop(incoming);
        let mut incoming = artefacts.resume(&digest).unwrap();
        assert_eq!(incoming.length(), 4);
        incoming.write(b"two").unwrap();
        assert_eq!(artefacts.find(&digest), None);
        incoming.finish().unwrap();
        assert_eq!(fs::read(artefacts.find(&digest).unwrap()).unwrap(), b"one two");
        let other = digest_of(b"x");
        let mut incoming = artefacts.begin(&other).unwrap();
        incoming.write(b"y").unwrap();
        assert!(matches!(incoming.finish(), Err(ArtefactError::OtherBytes { .. })));
        assert_eq!(artefacts.find(&other), None);
        for wrong in ["", "../x", &digest.to_uppercase(), &digest[1..]] {
            assert!(artefacts.begin(wrong).is_err(), "{wrong}");
            assert_eq!(artefacts.find(wrong), None);
        }
    }

    #[test]
    fn what_nobody_wants_goes_once_it_is_old_and_nothing_else_does() {
        let (folder, artefacts) = artefacts();
        let (wanted, unwanted) = (artefacts.keep(b"a").unwrap(), artefacts.keep(b"b").unwrap());
        drop(artefacts.resume(&digest_of(b"c")).unwrap());
        let stranger = folder.path().join("artefacts/notes");
        fs::write(&stranger, "").unwrap();
        let set = BTreeSet::from([wanted.as_str()]);
        artefacts.prune(&set, Timestamp::from_millis(1)).unwrap();
        assert!(artefacts.find(&unwanted).is_some());
        artefacts.prune(&set, Timestamp::from_millis(u64::MAX)).unwrap();
        assert!(artefacts.find(&wanted).is_some() && artefacts.find(&unwanted).is_none());
        assert_eq!(fs::read_dir(folder.path().join("artefacts")).unwrap().count(), 2);
        assert!(stranger.exists());
    }
}
