//! One agent a state folder: an advisory lock that dies with its holder, however it dies.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::FlockOperation;
use rustix::fs::flock;

use crate::config::files::create_folder;
use crate::config::files::open_or_create;

/// The lock, held until dropped or until the process ends.
#[derive(Debug)]
pub struct StateLock {
    file: File,
}

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent holds it.
    #[error("an agent (process {holder}) already runs on {}", folder.display())]
    Held {
        /// The state folder.
        folder: PathBuf,
        /// The process id it wrote down.
        holder: String,
    },
    /// The file cannot be opened or written.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl StateLock {
    /// Takes the lock at `path` and writes this process's id into it.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process has it; nothing is changed then.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { path: path.to_owned(), source };
        let mut file = open_or_create(path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(failed)?;
                let folder = path.parent().unwrap_or(path).to_owned();
                return Err(LockError::Held { folder, holder: holder.trim().to_owned() });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { file })
    }
}

impl Drop for StateLock {
    /// A process that is just being born has all open files of its parent until it runs its own
    /// program, which on a busy computer takes a while: closing would leave the lock with it.
    fn drop(&mut self) {
        // What cannot be unlocked is closed the next moment.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Waits for the lock at `path` as long as it takes: for work that is short.
///
/// # Errors
/// [`LockError::Io`].
pub fn wait(path: &Path) -> Result<StateLock, LockError> {
    let failed = |source| LockError::Io { path: path.to_owned(), source };
    let file = open_or_create(path).map_err(failed)?;
    flock(&file, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
    Ok(StateLock { file })
}

/// Waits for the folder at `path`, which is made where it is missing, as [`wait`] does for a file.
/// Nothing is left behind.
///
/// # Errors
/// [`LockError::Io`].
pub fn wait_for_folder(path: &Path) -> Result<StateLock, LockError> {
    let failed = |source| LockError::Io { path: path.to_owned(), source };
    create_folder(path).map_err(|error| failed(std::io::Error::other(error)))?;
    let folder = File::open(path).map_err(failed)?;
    flock(&folder, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
    Ok(StateLock { file: folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.lock");
        let first = StateLock::acquire(&path).unwrap();
        let error = StateLock::acquire(&path).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(first);
        StateLock::acquire(&path).unwrap();
    }

    #[test]
    fn a_lock_that_was_given_up_is_free_although_a_child_has_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.lock");
        let lock = StateLock::acquire(&path).unwrap();
        let shared = lock.file.try_clone().unwrap();
        let mut sleep = std::process::Command::new("sleep");
        let mut child = sleep.arg("600").stdin(shared).spawn().unwrap();
        drop(lock);
        let again = StateLock::acquire(&path);
        child.kill().unwrap();
        child.wait().unwrap();
        again.unwrap();
    }
}
