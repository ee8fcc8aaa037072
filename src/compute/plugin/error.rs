//! Why a plug-in did not do what it was asked.

use std::path::PathBuf;
use std::time::Duration;

use crate::compute::plugin::find::PREFIX;
use crate::compute::plugin::wire::Code;

/// Why. `said` holds a plug-in's own words.
#[derive(Debug, thiserror::Error)]
pub enum PluginCause {
    /// There is no such program.
    #[error("there is no program {PREFIX}{name} in {}", listed(looked))]
    Missing {
        /// The plug-in's name.
        name: String,
        /// The folders that were looked through.
        looked: Vec<PathBuf>,
    },
    /// It is there, and must not be run.
    #[error("{path:?} is not run: {why}")]
    Distrusted {
        /// The program.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It is not the program that was pinned.
    #[error("{path:?} has the SHA-256 {found}, and {expected} was pinned")]
    Digest {
        /// The program.
        path: PathBuf,
        /// What the configuration says.
        expected: String,
        /// What it has.
        found: String,
    },
    /// A secret cannot be read.
    #[error("the secret {name:?} cannot be read: {why}")]
    Secret {
        /// Its name in the settings.
        name: String,
        /// Why.
        why: String,
    },
    /// It ended without an answer.
    #[error("`{call}` ended without an answer ({ending}): {said}")]
    Silent {
        /// Program and verb.
        call: String,
        /// How it ended.
        ending: String,
        /// The last lines of its log.
        said: String,
    },
    /// What it said is not what plug-ins say.
    #[error("`{call}` does not keep to the protocol: {why}")]
    Babble {
        /// Program and verb.
        call: String,
        /// What is wrong.
        why: String,
    },
    /// It says no.
    #[error("`{call}` says: {said}")]
    Refused {
        /// Program and verb.
        call: String,
        /// Why.
        code: Code,
        /// Why, in its words.
        said: String,
        /// When the same may work; none when it will not.
        retry: Option<Duration>,
    },
}

fn listed(folders: &[PathBuf]) -> String {
    let shown: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    shown.join(", ")
}

impl PluginCause {
    /// What to do next, in one sentence.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Missing { name, looked } => {
                let folder = looked.first().map(|folder| folder.display().to_string());
                let folder = folder.unwrap_or_else(|| "a folder of PATH".to_owned());
                format!(
                    "put an executable {PREFIX}{name} into {folder}; `raptor provider ls` lists those that are found"
                )
            }
            Self::Distrusted { path, .. } => {
                format!(
                    "see who may write {} (`chmod 0755`), and that it is a program",
                    path.display()
                )
            }
            Self::Digest { .. } => {
                "look at what changed in it, and set `sha256` of the compute type anew".to_owned()
            }
            Self::Secret { .. } => {
                "name a file of mode 0600, or `$VARIABLE`, in `secrets` of the compute type"
                    .to_owned()
            }
            Self::Silent { .. } | Self::Babble { .. } => {
                "run `raptor provider test` on it, or ask who wrote it".to_owned()
            }
            Self::Refused { code, .. } => match code {
                Code::Auth => "see that its secrets are set and still valid",
                Code::Quota => "free some of what is rented, or have the limit raised",
                Code::Invalid => "correct `settings` of the compute type",
                Code::NotFound => "see that what its settings name is there",
                Code::Conflict => "remove or rename what is in the way",
                Code::Unsupported | Code::UnsupportedVersion => {
                    "see whether there is a newer version of the plug-in"
                }
                Code::RateLimited | Code::Unavailable | Code::Timeout | Code::Other => {
                    "try again later, or choose another compute type"
                }
            }
            .to_owned(),
        }
    }
}
