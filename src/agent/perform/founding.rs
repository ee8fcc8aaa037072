//! `founding.json`: the wishes for a cluster's first machines, written down while there is no
//! document yet to write them into.

use serde::{Deserialize, Serialize};

use crate::agent::clock;
use crate::agent::clock::RandomError;
use crate::config::files::FileError;
use crate::config::files::create_folder;
use crate::config::files::read_bounded;
use crate::config::files::write_atomic;
use crate::config::home::Home;
use crate::model::cluster::ClusterId;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecords;
use crate::model::name::Name;

/// Larger than any sound file.
const SIZE_MAX: u64 = 16 * 1024 * 1024;

/// A cluster that is being founded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// Version of the file.
    pub version: u32,
    /// The cluster's name.
    pub cluster: Name,
    /// What makes its id its own.
    pub nonce: u64,
    /// Public half of the recovery key, which lies in the same home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<String>,
    /// The machines wished for.
    pub machines: MachineRecords,
    /// The one of them that was about to found it: taken up again, it is the same one, for it may
    /// hold the first document already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub founder: Option<IntentId>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is damaged.
    #[error("{path} cannot be read")]
    Malformed {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl Founding {
    /// A cluster nobody else has.
    ///
    /// # Errors
    /// [`FoundingError::Random`].
    pub fn new(cluster: Name) -> Result<Self, FoundingError> {
        let nonce = u64::from_le_bytes(clock::random()?);
        let machines = MachineRecords::new();
        Ok(Self { version: 1, cluster, nonce, recovery: None, machines, founder: None })
    }

    /// The id its machines carry.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        ClusterId::derive(self.nonce, &self.cluster)
    }

    /// What an earlier, interrupted founding left.
    ///
    /// # Errors
    /// As [`FoundingError`] says.
    pub fn load(home: &Home, cluster: &Name) -> Result<Option<Self>, FoundingError> {
        let path = home.founding_file(cluster);
        if !path.exists() {
            return Ok(None);
        }
        let text = read_bounded(&path, SIZE_MAX)?;
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| FoundingError::Malformed { path: path.display().to_string(), source })
    }

    /// Writes it down, durably.
    ///
    /// # Errors
    /// As [`FoundingError`] says.
    pub fn save(&self, home: &Home) -> Result<(), FoundingError> {
        let path = home.founding_file(&self.cluster);
        let text = serde_json::to_vec_pretty(self).map_err(|source| FoundingError::Malformed {
            path: path.display().to_string(),
            source,
        })?;
        create_folder(path.parent().unwrap_or(home.root()))?;
        Ok(write_atomic(&path, &text)?)
    }

    /// The document has it: the file goes.
    pub fn forget(home: &Home, cluster: &Name) {
        // Left behind it is harmless: the machines in it are found by their intents.
        let path = home.founding_file(cluster);
        let _ = std::fs::remove_file(&path);
        // Stays while another cluster is being founded.
        let _ = path.parent().map(std::fs::remove_dir);
    }
}
