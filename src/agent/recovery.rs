//! The recovery key: made with the cluster, kept by the operator and by nobody else. With it alone
//! secrets and backups are opened when no member is left.
//!
//! The file is age's own (`age-keygen`), so that `age --decrypt --identity` takes it, too.

use std::path::Path;

use serde_json::Value;

use crate::agent::clock;
use crate::agent::clock::RandomError;
use crate::agent::clock::wall_clock;
use crate::config::document::views::RECOVERY;
use crate::config::files::FileError;
use crate::config::files::create_folder;
use crate::config::files::write_atomic;
use crate::config::home::Home;
use crate::config::identity_file;
use crate::config::identity_file::IdentityFileError;
use crate::model::cluster::ClusterId;
use crate::model::name::Name;
use crate::seal::error::SealError;
use crate::seal::key::Identity;
use crate::seal::key::Recipient;

/// Why the key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// Its file cannot be read, or others may read it.
    #[error(transparent)]
    Private(#[from] IdentityFileError),
    /// Its file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds no key.
    #[error("{path} holds no recovery key")]
    Malformed {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: SealError,
    },
    /// The document names what is no key.
    #[error("the recovery key {key:?} of the document cannot be used")]
    Public {
        /// What it names.
        key: String,
        /// Why.
        #[source]
        source: SealError,
    },
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Public halves of the recovery keys that `document` names.
///
/// # Errors
/// [`RecoveryError::Public`].
pub fn recipients(document: &Value) -> Result<Vec<Recipient>, RecoveryError> {
    let parse = |key: &String| {
        key.parse().map_err(|source| RecoveryError::Public { key: key.clone(), source })
    };
    let keys = document.get(RECOVERY).and_then(Value::as_object);
    keys.into_iter().flatten().map(|(key, _)| parse(key)).collect()
}

/// Reads a key file; none when there is no file.
///
/// # Errors
/// As [`RecoveryError`] says.
pub fn load(path: &Path) -> Result<Option<Identity>, RecoveryError> {
    let Some(content) = identity_file::read_private(path)? else { return Ok(None) };
    let malformed = |source| RecoveryError::Malformed { path: path.display().to_string(), source };
    let text = std::str::from_utf8(&content).map_err(|_| malformed(SealError::NoText))?;
    Identity::from_file(text).map(Some).map_err(malformed)
}

/// The public half of the key of a cluster, which is made when there is none in `home`.
///
/// # Errors
/// As [`RecoveryError`] says.
pub fn ensure(home: &Home, cluster: ClusterId, name: &Name) -> Result<Recipient, RecoveryError> {
    match load(&home.recovery_file(cluster))? {
        Some(known) => Ok(known.recipient()),
        None => create(home, cluster, name),
    }
}

/// Makes a new key. One that was there is kept beside it: it opens older backups.
///
/// # Errors
/// As [`RecoveryError`] says.
pub fn create(home: &Home, cluster: ClusterId, name: &Name) -> Result<Recipient, RecoveryError> {
    let identity = Identity::draw(&zeroize::Zeroizing::new(clock::random()?));
    write(home, cluster, name, &identity)?;
    Ok(identity.recipient())
}

/// Puts a key that was kept elsewhere into `home`, unless it is there.
///
/// # Errors
/// As [`RecoveryError`] says.
pub fn keep(
    home: &Home,
    cluster: ClusterId,
    name: &Name,
    identity: &Identity,
) -> Result<(), RecoveryError> {
    let known = load(&home.recovery_file(cluster))?.map(|known| known.recipient());
    if known == Some(identity.recipient()) {
        return Ok(());
    }
    write(home, cluster, name, identity)
}

fn write(
    home: &Home,
    cluster: ClusterId,
    name: &Name,
    identity: &Identity,
) -> Result<(), RecoveryError> {
    let path = home.recovery_file(cluster);
    create_folder(path.parent().unwrap_or(home.root()))?;
    let (recipient, now) = (identity.recipient(), wall_clock());
    if path.exists() {
        let kept = path.with_extension(format!("until-{}.key", now.as_millis()));
        std::fs::rename(&path, &kept).map_err(FileError::new("keep", &path))?;
    }
    let text = zeroize::Zeroizing::new(format!(
        "# recovery key of the raptor cluster {name} ({cluster})\n# created: {now}\n\
         # public key: {recipient}\n{}\n",
        identity.to_text().as_str()
    ));
    Ok(write_atomic(&path, text.as_bytes())?)
}

/// There will be no such cluster: its key goes.
pub fn forget(home: &Home, cluster: ClusterId) {
    // Left behind it is harmless: it opens nothing.
    let path = home.recovery_file(cluster);
    let _ = std::fs::remove_file(&path);
    // Stays while it holds the keys of other clusters.
    let _ = path.parent().map(std::fs::remove_dir);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_the_old_one_is_kept_when_another_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path());
        let name: Name = "default".parse().unwrap();
        let cluster = ClusterId::derive(1, &name);
        let path = home.recovery_file(cluster);
        assert!(load(&path).unwrap().is_none());
        let first = ensure(&home, cluster, &name).unwrap();
        assert_eq!(ensure(&home, cluster, &name).unwrap(), first);
        assert_eq!(load(&path).unwrap().unwrap().recipient(), first);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);

        let second = create(&home, cluster, &name).unwrap();
        assert_ne!(second, first);
        let files: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        let keys = files.into_iter().map(|file| load(&file.unwrap().path()).unwrap().unwrap());
        let mut keys: Vec<Recipient> = keys.map(|key| key.recipient()).collect();
        keys.sort();
        let mut expected = vec![first, second];
        expected.sort();
        assert_eq!(keys, expected);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load(&path), Err(RecoveryError::Private(_))));
        forget(&home, cluster);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_key_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        write_atomic(&path, b"# nothing\n").unwrap();
        let error = load(&path).unwrap_err();
        assert!(error.to_string().ends_with("k holds no recovery key"), "{error}");
    }
}
