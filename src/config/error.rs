//! What is wrong with a configuration, where, and what was probably meant.

use std::fmt;
use std::path::PathBuf;

use crate::config::files::FileError;
use crate::config::path::Path;
use crate::config::position::Position;

/// Where a layer came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A module inside this program.
    Bundled(String),
    /// The replicated document.
    Document,
    /// The layers together: no single one is wrong.
    Merged,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Bundled(name) => write!(formatter, "bundled module {name}"),
            Self::Document => formatter.write_str("document"),
            Self::Merged => formatter.write_str("configuration"),
        }
    }
}

/// One thing that is wrong: `FILE:LINE:COLUMN: PATH: what`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// In which layer.
    pub source: Source,
    /// Where in its text.
    pub position: Option<Position>,
    /// Path of the key.
    pub path: Path,
    /// What is wrong, with what was expected.
    pub what: String,
    /// The known key that is most like the one found.
    pub nearest: Option<String>,
    /// The keys that would be known there.
    pub known: Vec<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.source)?;
        if let Some(position) = self.position {
            write!(formatter, ":{}:{}", position.line, position.column)?;
        }
        formatter.write_str(": ")?;
        if !self.path.is_root() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.what)?;
        if let Some(nearest) = &self.nearest {
            write!(formatter, "; did you mean {nearest:?}?")?;
        }
        if !self.known.is_empty() {
            write!(formatter, " (known: {})", self.known.join(", "))?;
        }
        Ok(())
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The content is wrong; one line each.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
    /// A change that cannot be made.
    #[error(transparent)]
    Change(#[from] crate::config::change::ChangeError),
}

impl ConfigError {
    pub(crate) fn one(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }

    /// The problems; none for an error of another kind.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) => problems,
            Self::File(_) | Self::Change(_) => &[],
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The one of `known` that is most like `found`; none when all are too different.
#[must_use]
pub fn nearest<'k>(found: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    // A third of the letters may differ: the habit of `git` and `cargo`, roughly.
    let limit = found.chars().count().max(3) / 3;
    known
        .into_iter()
        .map(|key| (strsim::damerau_levenshtein(found, key), key))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, key)| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_near() {
        let known = ["listen", "rings", "link_timeout_ms"];
        assert_eq!(nearest("lissten", known).as_deref(), Some("listen"));
        assert_eq!(nearest("ring", known).as_deref(), Some("rings"));
        assert_eq!(nearest("colour", known), None);
    }
}
