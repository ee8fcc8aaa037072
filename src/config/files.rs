//! Files that only their owner may read, and that are whole or not there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}")]
pub struct FileError {
    /// What was being done: `read`, `write`, ...
    pub action: &'static str,
    /// To which file or folder.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

impl FileError {
    pub(crate) fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }

    /// Whether the disk, or the user's share of it, is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

/// Makes a folder and those above it, each new one for the owner alone (0700).
///
/// # Errors
/// [`FileError`].
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FileError::new("create folder", path))
}

/// Replaces a file so that a crash leaves the old or the new content, never a mixture: writes a
/// file beside it (0600), waits until the disk has it, renames, waits for the folder.
///
/// # Errors
/// [`FileError`]; the old content stays.
pub fn write_atomic(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.new", std::process::id()));
    let written = write_new(&temporary, content).and_then(|()| {
        fs::rename(&temporary, path).map_err(FileError::new("replace", path))?;
        sync_folder(folder)
    });
    if written.is_err() {
        // Only a leftover; the error that matters is on its way to the caller.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Opens a file for reading and writing; a new one is empty, and its owner's alone (0600).
///
/// # Errors
/// It can be neither opened nor made.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn write_new(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let fail = |action| FileError::new(action, path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(fail("create"))?;
    file.write_all(content).map_err(fail("write"))?;
    file.sync_all().map_err(fail("write"))
}

/// Waits until the disk has a folder's entries.
///
/// # Errors
/// [`FileError`].
pub fn sync_folder(folder: &Path) -> Result<(), FileError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)
        .and_then(|handle| handle.sync_all())
        .map_err(FileError::new("write folder", folder))
}

/// Reads a file of at most `size_max` bytes.
///
/// # Errors
/// [`FileError`]; of kind `FileTooLarge` when it is longer.
pub fn read_bounded(path: &Path, size_max: u64) -> Result<Vec<u8>, FileError> {
    use std::io::Read;
    let fail = || FileError::new("read", path);
    let file = File::open(path).map_err(fail())?;
    let mut content = Vec::new();
    file.take(size_max.saturating_add(1)).read_to_end(&mut content).map_err(fail())?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > size_max {
        let why = format!("longer than {size_max} bytes");
        return Err(fail()(io::Error::new(io::ErrorKind::FileTooLarge, why)));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_may_look_inside() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        create_folder(&inner).unwrap();
        create_folder(&inner).unwrap();
        let file = inner.join("f");
        write_atomic(&file, b"one").unwrap();
        write_atomic(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!((mode(&inner), mode(&file)), (0o700, 0o600));
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_file_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("taken");
        create_folder(&target.join("not empty")).unwrap();
        let error = write_atomic(&target, b"x").unwrap_err();
        assert!(error.to_string().ends_with("taken"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn long_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        write_atomic(&file, b"12345").unwrap();
        assert_eq!(read_bounded(&file, 5).unwrap(), b"12345");
        assert!(read_bounded(&file, 4).is_err());
    }
}
