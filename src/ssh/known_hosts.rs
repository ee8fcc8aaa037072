//! raptor's own file of known host keys, beside the user's.
//!
//! ssh adds to it itself (`accept-new`); this file puts keys in that are known beforehand, reads
//! them back for the document, and forgets machines that are gone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file of known host keys.
#[derive(Debug, Clone)]
pub struct KnownHosts {
    path: PathBuf,
}

impl KnownHosts {
    /// The file at `path`; it need not exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The keys (`TYPE BASE64`) known under `name`.
    ///
    /// # Errors
    /// What reading the file gave; a missing file holds none.
    pub fn keys(&self, name: &str) -> io::Result<Vec<String>> {
        Ok(keys_in(&self.read()?, name))
    }

    /// Makes `keys` the only ones known under `name`.
    ///
    /// # Errors
    /// What reading or writing the file gave.
    pub fn set(&self, name: &str, keys: &[String]) -> io::Result<()> {
        self.change(|text| {
            if keys_in(text, name) == keys {
                return text.to_owned();
            }
            let mut text = without(text, name);
            for key in keys.iter().filter(|key| is_key(key)) {
                text.extend([name, " ", key, "\n"]);
            }
            text
        })
    }

    /// Forgets every key known under `name`.
    ///
    /// # Errors
    /// What reading or writing the file gave.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        self.change(|text| without(text, name))
    }

    /// Makes the file and its folder if they are not there, so that ssh can add to it.
    ///
    /// # Errors
    /// What making them gave.
    pub fn prepare(&self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        private().append(true).open(&self.path).map(drop)
    }

    fn read(&self) -> io::Result<String> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    /// Rewrites the file under a lock, whole or not at all; no writing when nothing changes.
    fn change(&self, edit: impl FnOnce(&str) -> String) -> io::Result<()> {
        self.prepare()?;
        let lock = private().append(true).open(self.beside("lock"))?;
        File::lock(&lock)?;
        let before = self.read()?;
        let after = edit(&before);
        if after == before {
            return Ok(());
        }
        let next = self.beside("next");
        let mut file = private().write(true).truncate(true).open(&next)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(after.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, &self.path)
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(ending);
        self.path.parent().unwrap_or(Path::new(".")).join(name)
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

/// `TYPE BASE64` and nothing that would start another line or field.
fn is_key(key: &str) -> bool {
    let fields: Vec<&str> = key.split_whitespace().collect();
    fields.len() >= 2 && !key.contains(['\n', '\r', '\0'])
}

fn names(line: &str, name: &str) -> bool {
    let hosts = line.split_whitespace().next().unwrap_or_default();
    hosts.split(',').any(|host| host == name)
}

fn keys_in(text: &str, name: &str) -> Vec<String> {
    text.lines()
        .filter(|line| names(line, name))
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            Some(format!("{} {}", fields.next()?, fields.next()?))
        })
        .collect()
}

fn without(text: &str, name: &str) -> String {
    let kept = text.lines().filter(|line| !names(line, name));
    kept.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_set_read_and_forgotten_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = KnownHosts::new(folder.path().join("a/known_hosts"));
        assert_eq!(hosts.keys("web").unwrap(), Vec::<String>::new());
        hosts.set("db", &["ssh-ed25519 BBBB".to_owned()]).unwrap();
        hosts.set("web", &["ssh-ed25519 AAAA".to_owned(), "ssh-rsa CC".to_owned()]).unwrap();
        hosts.set("web", &["ssh-ed25519 DDDD".to_owned()]).unwrap();
        assert_eq!(hosts.keys("web").unwrap(), ["ssh-ed25519 DDDD"]);
        hosts.forget("web").unwrap();
        assert_eq!(hosts.keys("web").unwrap(), Vec::<String>::new());
        assert_eq!(hosts.keys("db").unwrap(), ["ssh-ed25519 BBBB"]);
        let mode = fs::metadata(folder.path().join("a/known_hosts")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_cannot_bring_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = KnownHosts::new(folder.path().join("known_hosts"));
        hosts.set("web", &["ssh-ed25519 AAAA\n* ssh-ed25519 EVIL".to_owned()]).unwrap();
        assert_eq!(hosts.keys("*").unwrap(), Vec::<String>::new());
    }
}
