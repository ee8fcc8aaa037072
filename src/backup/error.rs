//! Why a backup cannot be written or read.

use crate::seal::error::SealError;

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The bytes are no archive.
    #[error("it is no backup of raptor, or its beginning was altered")]
    NotAnArchive,
    /// Another build wrote it.
    #[error("it has format version {0}; this build reads versions 1 and 2")]
    Version(u32),
    /// The key does not open it.
    #[error("this recovery key does not open it: it was made for another one, or altered")]
    WrongKey,
    /// Some byte is not what it was.
    #[error("it was altered or cut short")]
    Altered,
    /// It cannot be sealed.
    #[error("it cannot be sealed")]
    Seal(#[source] SealError),
    /// Its content is not what this build understands.
    #[error("its content cannot be read: {0}")]
    Content(String),
}

/// A place for backups that did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: cannot {step}: {why}")]
pub struct StoreError {
    /// The place, without credentials.
    pub place: String,
    /// What was being done: `read x`, `write x`, ...
    pub step: String,
    /// Why it failed.
    pub why: String,
}

impl StoreError {
    pub(super) fn new(place: &str, step: impl Into<String>, why: impl Into<String>) -> Self {
        Self { place: place.to_owned(), step: step.into(), why: why.into() }
    }
}
