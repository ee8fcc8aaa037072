//! Names people give to machines and clusters: DNS labels, so that `NODE.CLUSTER.raptor` resolves.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest DNS label (RFC 1035, section 2.3.4).
const LENGTH_MAX: usize = 63;

/// A lower-case DNS label: letters, digits and inner hyphens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest valid name to `text`: what a machine is called when only its hostname is known.
    #[must_use]
    pub fn from_hostname(text: &str) -> Self {
        let label = text.split('.').next().unwrap_or_default();
        let cleaned: String = label
            .chars()
            .map(|letter| match letter.to_ascii_lowercase() {
                plain @ ('a'..='z' | '0'..='9') => plain,
                _ => '-',
            })
            .take(LENGTH_MAX)
            .collect();
        let trimmed = cleaned.trim_matches('-');
        Self(if trimmed.is_empty() { "machine".to_owned() } else { trimmed.to_owned() })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a name: 1 to 63 of a-z, 0-9 and '-', no '-' at either end")]
pub struct NameError {
    text: String,
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sound = (1..=LENGTH_MAX).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !text.starts_with('-')
            && !text.ends_with('-');
        if sound {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError { text: text.chars().take(80).collect() })
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_only() {
        for good in ["a", "web-1", "0x"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hostnames_become_names() {
        assert_eq!(Name::from_hostname("Old_Desktop.lan").as_str(), "old-desktop");
        assert_eq!(Name::from_hostname("...").as_str(), "machine");
    }
}
