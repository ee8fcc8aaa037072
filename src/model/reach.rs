//! How far a member's links go: what it says of itself, so that the others dial accordingly.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which links a member has. Routes lead over them as over any others.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It dials and is dialled.
    #[default]
    Full,
    /// It dials, and nobody dials it.
    Linked,
    /// It has one link, to its parent, and dials that.
    Tree,
}

impl Reach {
    /// Reads the word in a member's facts. A later build's word is `full`: such a member refuses
    /// whom it does not want.
    ///
    /// # Errors
    /// None that is not the format's own.
    pub fn lenient<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = serde_json::Value::deserialize(from)?;
        Ok(serde_json::from_value(word).unwrap_or_default())
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Full => "full",
            Self::Linked => "linked",
            Self::Tree => "tree",
        })
    }
}
