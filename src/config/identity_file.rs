//! The machine's secret key on disk.
//!
//! One line: `raptor-identity-1 BASE32`, the 32 bytes of [`SecretKey::to_seed`].

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use crate::config::files::{FileError, create_folder, read_bounded, write_atomic};
use crate::model::identity::{IdentityError, SecretKey};

const MARK: &str = "raptor-identity-1";

/// Larger than any key file.
const SIZE_MAX: u64 = 4096;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Others could have read it.
    #[error(
        "the key {path} may be read by others (mode {mode:04o}); if nobody did: chmod 600 {path}"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Its content is no key.
    #[error("{path} holds no raptor key")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The key is of no use in the mesh.
    #[error("the key in {path} cannot be used")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: IdentityError,
    },
}

/// Reads the key; none when there is no file.
///
/// # Errors
/// [`IdentityFileError`]; a key that others may read is refused.
pub fn load(path: &Path) -> Result<Option<SecretKey>, IdentityFileError> {
    let Some(content) = read_private(path)? else { return Ok(None) };
    let seed =
        parse(&content).ok_or_else(|| IdentityFileError::Malformed { path: path.to_owned() })?;
    let unusable = |source| IdentityFileError::Unusable { path: path.to_owned(), source };
    SecretKey::from_seed(&seed).map(Some).map_err(unusable)
}

/// The content of a key file; none when there is no file.
///
/// # Errors
/// [`IdentityFileError`]; a file that others may read is refused.
pub fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityFileError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::new("read", path)(error).into()),
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(IdentityFileError::Exposed { path: path.to_owned(), mode });
    }
    Ok(Some(Zeroizing::new(read_bounded(path, SIZE_MAX)?)))
}

/// Reads the key, or draws one from `random` and stores it.
///
/// # Errors
/// [`IdentityFileError`].
pub fn load_or_create(
    path: &Path,
    random: impl FnMut(&mut [u8; 32]),
) -> Result<SecretKey, IdentityFileError> {
    if let Some(key) = load(path)? {
        return Ok(key);
    }
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let key = SecretKey::generate(random);
    let digits = Zeroizing::new(BASE32_NOPAD.encode(key.to_seed().as_slice()));
    let line = Zeroizing::new(format!("{MARK} {}\n", digits.as_str()));
    write_atomic(path, line.as_bytes())?;
    Ok(key)
}

fn parse(content: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let digits = content.strip_prefix(MARK.as_bytes())?.trim_ascii();
    let bytes = Zeroizing::new(BASE32_NOPAD.decode(digits).ok()?);
    let mut seed = Zeroizing::new([0u8; 32]);
    if bytes.len() != seed.len() {
        return None;
    }
    seed.copy_from_slice(&bytes);
    Some(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random() -> impl FnMut(&mut [u8; 32]) {
        let mut counter = 0u32;
        move |seed| {
            counter += 1;
            seed[..4].copy_from_slice(&counter.to_le_bytes());
        }
    }

    #[test]
    fn a_key_is_made_once_and_kept_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent/identity.key");
        assert!(load(&path).unwrap().is_none());
        let key = load_or_create(&path, random()).unwrap();
        let again = load_or_create(&path, |_| panic!("a second key")).unwrap();
        assert_eq!(key.node_id(), again.node_id());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        load_or_create(&path, random()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn what_is_no_key_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        for content in ["", "raptor-identity-1 ", "raptor-identity-1 AAAA", "ssh-ed25519 AAAA"] {
            write_atomic(&path, content.as_bytes()).unwrap();
            assert!(matches!(load(&path), Err(IdentityFileError::Malformed { .. })), "{content}");
        }
    }
}
