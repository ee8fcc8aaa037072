//! Files that all members keep for each other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest artefact, in bytes.
pub const ARTEFACT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Most artefacts of one cluster.
pub const ARTEFACTS_MAX: usize = 64;

/// A file that all members keep; `raptor artefact add` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Artefact {
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// The architecture, as `uname -m` says it, for which it is raptor's own program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The secret that opens it; absent when it lies open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_with: Option<String>,
}

/// Whether `text` is a SHA-256 as it is written here: 64 small hexadecimal digits.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
