//! Making a backup of what the members know, for whoever asks.

use std::collections::BTreeMap;
use std::path::Path;

use data_encoding::BASE64;
use serde_json::{Map, Value};

use crate::agent::BUILD;
use crate::agent::api::AgentStatus;
use crate::agent::clock;
use crate::agent::clock::RandomError;
use crate::agent::clock::wall_clock;
use crate::agent::recovery;
use crate::agent::recovery::RecoveryError;
use crate::backup::archive::Archive;
use crate::backup::archive::Content;
use crate::backup::archive::Head;
use crate::backup::error::ArchiveError;
use crate::config::error::ConfigError;
use crate::config::files::FileError;
use crate::config::files::create_folder;
use crate::config::files::write_atomic;
use crate::config::home::Home;
use crate::config::module::installed_files;
use crate::seal::proof::ProofKey;

/// Why no backup can be made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no key that could open it.
    #[error("the cluster has no recovery key, so that nobody could open a backup")]
    NoKey,
    /// A key is unusable.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// It cannot be sealed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Installed modules cannot be read.
    #[error(transparent)]
    Modules(#[from] ConfigError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// An archive of `document`, as the agent of `status` holds it, with the modules of `home`, and a `proof`
/// that it was made by who was trusted with that.
///
/// # Errors
/// As [`BackupError`] says.
pub fn make(
    document: &Value,
    status: &AgentStatus,
    home: &Home,
    proof: Option<&ProofKey>,
) -> Result<(Head, Vec<u8>), BackupError> {
    let recipients = recovery::recipients(document)?;
    if recipients.is_empty() {
        return Err(BackupError::NoKey);
    }
    let head = Head {
        cluster: status.cluster.clone(),
        cluster_id: status.cluster_id,
        created_at: wall_clock(),
        build: BUILD.to_owned(),
        rest: Map::new(),
    };
    let modules = installed_files(home)?;
    let content = Content {
        genesis: status.genesis.clone(),
        document: document.clone(),
        document_updates: status.document_updates,
        modules: modules.iter().map(|(path, bytes)| (path.clone(), BASE64.encode(bytes))).collect(),
        written_by: status.node,
        rest: Map::new(),
    };
    let archive = Archive { head: head.clone(), content };
    let bytes = archive.seal(&recipients, proof, &zeroize::Zeroizing::new(clock::random()?))?;
    Ok((head, bytes))
}

/// Puts the modules of an archive into `home`; those that are there stay. Their paths.
///
/// # Errors
/// A file cannot be written.
pub fn install_modules(
    modules: &BTreeMap<String, String>,
    home: &Home,
) -> Result<Vec<String>, FileError> {
    let mut installed = Vec::new();
    for (name, content) in modules {
        let is_sound = |part: &str| !part.is_empty() && part != "." && part != "..";
        let path = home.modules_folder().join(name);
        let Ok(bytes) = BASE64.decode(content.as_bytes()) else { continue };
        if Path::new(name).is_absolute() || !name.split('/').all(is_sound) || path.exists() {
            continue;
        }
        create_folder(path.parent().unwrap_or(home.root()))?;
        write_atomic(&path, &bytes)?;
        installed.push(name.clone());
    }
    Ok(installed)
}
