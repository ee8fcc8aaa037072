//! Modules that the configuration itself carries: so they reach every member with it, also those
//! that were away, and whoever is left has them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::module::Files;

/// Most bytes of all files of one carried module: with its base64 it fits into one update of the
/// document.
pub const CARRIED_BYTES_MAX: usize = 512 * 1024;

/// Most files of one carried module.
pub const CARRIED_FILES_MAX: usize = 500;

/// A module as the configuration carries it; `raptor install` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CarriedModule {
    /// `provisioning` or `compute_type`.
    pub kind: String,
    /// Where it was installed from.
    pub source: String,
    /// The commit, where it came from a git repository.
    pub revision: Option<String>,
    /// SHA-256 over the names and contents of its files.
    pub sha256: String,
    /// Its files, each in base64, by its path in the module's folder.
    pub files: BTreeMap<String, String>,
}

/// Why a module cannot be carried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CarryError {
    /// Too much.
    #[error(
        "{files} files of {bytes} bytes; at most {CARRIED_FILES_MAX} files of {CARRIED_BYTES_MAX} bytes together are carried"
    )]
    TooLarge {
        /// How many files.
        files: usize,
        /// How many bytes.
        bytes: usize,
    },
    /// A file is no base64, or its path climbs.
    #[error("the file {0:?} is damaged")]
    Damaged(String),
    /// The files are not those that were installed.
    #[error("its files have the SHA-256 {found}, not {expected}")]
    OtherContent {
        /// What was written beside them.
        expected: String,
        /// What they have.
        found: String,
    },
}

impl CarriedModule {
    /// Packs `files` of a module.
    ///
    /// # Errors
    /// [`CarryError::TooLarge`].
    pub fn pack(
        kind: &str,
        source: &str,
        revision: Option<String>,
        files: &Files,
    ) -> Result<Self, CarryError> {
        bounded(files.len(), files.values().map(|content| content.len()).sum())?;
        let encoded = files
            .iter()
            .map(|(name, content)| (name.clone(), data_encoding::BASE64.encode(content)));
        Ok(Self {
            kind: kind.to_owned(),
            source: source.to_owned(),
            revision,
            sha256: digest(files),
            files: encoded.collect(),
        })
    }

    /// Its files, when they are those that were packed.
    ///
    /// # Errors
    /// [`CarryError`].
    pub fn unpack(&self) -> Result<Files, CarryError> {
        let encoded: usize = self.files.values().map(String::len).sum();
        bounded(self.files.len(), encoded / 4 * 3)?;
        let mut files = Files::new();
        for (name, text) in &self.files {
            let plain = !name.contains('\0')
                && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
            let content = data_encoding::BASE64.decode(text.as_bytes());
            let content = content.ok().filter(|_| plain);
            let content = content.ok_or_else(|| CarryError::Damaged(name.clone()))?;
            files.insert(name.clone(), Cow::Owned(content));
        }
        let found = digest(&files);
        if found == self.sha256 {
            return Ok(files);
        }
        Err(CarryError::OtherContent { expected: self.sha256.clone(), found })
    }
}

fn bounded(files: usize, bytes: usize) -> Result<(), CarryError> {
    if files <= CARRIED_FILES_MAX && bytes <= CARRIED_BYTES_MAX {
        return Ok(());
    }
    Err(CarryError::TooLarge { files, bytes })
}

/// Every part is preceded by its length, so that no two different modules give the same bytes.
fn digest(files: &Files) -> String {
    let mut hash = Sha256::new();
    hash.update(b"raptor/1 module files");
    for part in files.iter().flat_map(|(name, content)| [name.as_bytes(), content.as_ref()]) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    data_encoding::HEXLOWER.encode(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(content: Vec<u8>) -> Files {
        Files::from([
            ("module.toml".to_owned(), Cow::Borrowed(b"kind".as_slice())),
            ("inner/script.sh".to_owned(), Cow::Owned(content)),
        ])
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let files = files(vec![0, 255, b'\n']);
        let packed = CarriedModule::pack("provisioning", "./m", None, &files).unwrap();
        let text = serde_json::to_string(&packed).unwrap();
        let read: CarriedModule = serde_json::from_str(&text).unwrap();
        assert_eq!(read.unpack().unwrap(), files);
    }

    #[test]
    fn what_was_changed_on_the_way_is_refused() {
        let packed = CarriedModule::pack("provisioning", "./m", None, &files(vec![1])).unwrap();
        let mut other = packed.clone();
        other.files.insert("inner/script.sh".to_owned(), "AA==".to_owned());
        assert!(matches!(other.unpack(), Err(CarryError::OtherContent { .. })));
        let mut climbing = packed.clone();
        climbing.files.insert("../x".to_owned(), "AA==".to_owned());
        assert_eq!(climbing.unpack(), Err(CarryError::Damaged("../x".to_owned())));
        let mut garbled = packed;
        garbled.files.insert("x".to_owned(), "?".to_owned());
        assert_eq!(garbled.unpack(), Err(CarryError::Damaged("x".to_owned())));
        let large = files(vec![0; CARRIED_BYTES_MAX]);
        assert!(CarriedModule::pack("provisioning", "./m", None, &large).is_err());
    }
}
