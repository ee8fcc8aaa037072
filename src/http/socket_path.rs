//! Paths of unix sockets that may be longer than the system accepts.
//!
//! A socket's address holds 108 bytes (`sun_path`, unix(7)). A longer path is reached through the
//! folder's descriptor: `/proc/self/fd/N/agent.sock` is short whatever N names.

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Longest path that is used as it is, in bytes.
const PATH_LENGTH_MAX: usize = 100;

/// A path that fits into a socket's address, valid as long as this value lives.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

impl SocketPath {
    /// Shortens `path` where needed.
    ///
    /// # Errors
    /// The folder of a long path cannot be opened.
    pub fn new(path: &Path) -> io::Result<Self> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Self { path: path.to_owned(), _folder: None });
        };
        if path.as_os_str().len() <= PATH_LENGTH_MAX {
            return Ok(Self { path: path.to_owned(), _folder: None });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }

    /// The path to bind or connect to.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_socket_in_a_deep_folder_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a".repeat(80)).join("b".repeat(80));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("agent.sock");
        assert!(UnixListener::bind(&path).is_err(), "the path is not long enough for this test");

        let short = SocketPath::new(&path).unwrap();
        let listener = UnixListener::bind(short.as_path()).unwrap();
        let _client = UnixStream::connect(SocketPath::new(&path).unwrap().as_path()).unwrap();
        listener.accept().unwrap();
    }

    #[test]
    fn a_short_path_stays_as_it_is() {
        let path = Path::new("/run/raptor/agent.sock");
        assert_eq!(SocketPath::new(path).unwrap().as_path(), path);
    }
}
