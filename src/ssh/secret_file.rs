//! A secret key in memory, as a file that `ssh` can be told of: it never touches a disk.

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::MemfdFlags;
use rustix::fs::Mode;

/// A key's file, for as long as this lives.
#[derive(Debug)]
pub struct SecretFile {
    file: File,
}

impl SecretFile {
    /// Holds `text`, readable for this user alone.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn new(text: &str) -> io::Result<Self> {
        let mut file = File::from(rustix::fs::memfd_create("raptor-key", MemfdFlags::CLOEXEC)?);
        // ssh refuses a key that others may read.
        rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        file.write_all(text.as_bytes())?;
        Ok(Self { file })
    }

    /// Where programs of this user that run beside this one find it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }
}
