//! The folder where connections have their sockets: short, ours, and nobody else's.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ssh::error::Cause;

/// Longest folder in which a socket's path still fits: a Unix socket's path has 107 bytes (Linux;
/// 103 elsewhere), ssh adds 17 of its own while it makes one, and our names have at most 32.
const FOLDER_LENGTH_MAX: usize = 50;

/// A path for a new connection's socket; no other connection of any process has it.
pub(crate) fn new_socket_path() -> Result<PathBuf, Cause> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static SWEEP: Once = Once::new();
    let folder = folder_for(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from));
    prepare(&folder)?;
    SWEEP.call_once(|| sweep(&folder));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(folder.join(format!("{}-{number}", std::process::id())))
}

/// Removes the folder, unless a connection of a living process has its socket there.
pub fn remove_unused() {
    let folder = folder_for(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from));
    if folder.is_dir() && prepare(&folder).is_ok() {
        sweep(&folder);
        let _others_may_use_it = fs::remove_dir(&folder);
    }
}

fn folder_for(runtime: Option<PathBuf>) -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    runtime
        .map(|runtime| runtime.join("raptor"))
        .filter(|folder| folder.is_absolute() && folder.as_os_str().len() <= FOLDER_LENGTH_MAX)
        .filter(|folder| folder.parent().is_some_and(Path::is_dir))
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/raptor-{user}")))
}

/// Makes the folder, or checks that the one there is a folder of ours that nobody else may use.
fn prepare(folder: &Path) -> Result<(), Cause> {
    let refuse = |detail: String| Cause::ControlFolder { folder: folder.to_path_buf(), detail };
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(refuse(error.to_string()));
        }
        _ => {}
    }
    let metadata = fs::symlink_metadata(folder).map_err(|error| refuse(error.to_string()))?;
    if !metadata.is_dir() {
        return Err(refuse("it is not a folder".to_owned()));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(refuse("it belongs to another user".to_owned()));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(refuse("other users may use it".to_owned()));
    }
    Ok(())
}

/// Removes sockets whose process is gone: one that was killed outright could not.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split_once('-')?.0.parse::<i32>().ok());
        let gone = owner.and_then(rustix::process::Pid::from_raw).is_some_and(|owner| {
            rustix::process::test_kill_process(owner) == Err(rustix::io::Errno::SRCH)
        });
        if gone {
            let _others_may_have = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_path_is_short_and_the_folder_private() {
        let long = PathBuf::from("/tmp").join("x".repeat(60));
        assert!(folder_for(Some(long)).as_os_str().len() <= FOLDER_LENGTH_MAX);
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("raptor");
        prepare(&own).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().mode() & 0o777, 0o700);
        prepare(&own).unwrap();
    }

    #[test]
    fn a_folder_open_to_others_or_a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        let text = prepare(&open).unwrap_err().to_string();
        assert!(text.contains("other users may use it"), "{text}");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(prepare(&link).unwrap_err().to_string().contains("not a folder"));
    }

    #[test]
    fn only_sockets_of_dead_processes_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join(format!("{}-0", std::process::id()));
        let dead = folder.path().join(format!("{}-0", i32::MAX));
        let other = folder.path().join("notes");
        for file in [&own, &dead, &other] {
            fs::write(file, "").unwrap();
        }
        sweep(folder.path());
        assert!(own.exists() && other.exists() && !dead.exists());
    }
}
