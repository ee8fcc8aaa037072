//! One at a time may change the folder of machines.

use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::compute::error::Cause;

const FILE: &str = ".lock";
const TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Held until dropped; the system lets go of it when the process dies.
pub(in crate::compute) struct Lock(File);

impl Drop for Lock {
    /// Children that are just being born have the file open, too: closing alone would leave the lock
    /// with them.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

impl Lock {
    /// Waits for the lock of `machines`, and makes that folder if need be.
    pub(in crate::compute) async fn take(machines: &Path) -> Result<Self, Cause> {
        make_private_folder(machines)?;
        let path = machines.join(FILE);
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| Cause::io("open", &path, source))?;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                Err(Errno::WOULDBLOCK) => {
                    let what = format!("waiting for the lock {}", path.display());
                    return Err(Cause::TimedOut { what, after: TIMEOUT });
                }
                Err(error) => return Err(Cause::io("lock", &path, error.into())),
            }
        }
    }
}

/// Makes `folder` and its parents, for this user alone.
pub(in crate::compute) fn make_private_folder(folder: &Path) -> Result<(), Cause> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| Cause::io("make", folder, source))
}
