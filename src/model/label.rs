//! Labels on machines, and selectors that choose machines by them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A machine's labels, in a fixed order.
pub type Labels = BTreeMap<String, String>;

/// Longest key or value: what the strictest cloud accepts for a label.
const PART_LENGTH_MAX: usize = 63;

/// One `KEY=VALUE`, as `--label` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Left of the first `=`.
    pub key: String,
    /// Right of it; may be empty.
    pub value: String,
}

/// The text is no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// No `=`.
    #[error("{0:?} is not KEY=VALUE")]
    NoEquals(String),
    /// A key or value outside the alphabet that every back-end can store.
    #[error("{0:?} may hold only letters, digits, '.', '_' and '-', at most 63 (a key at least 1)")]
    Alphabet(String),
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| LabelError::NoEquals(text.to_owned()))?;
        if key.is_empty() {
            return Err(LabelError::Alphabet(key.to_owned()));
        }
        for part in [key, value] {
            let sound = part.len() <= PART_LENGTH_MAX
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            if !sound {
                return Err(LabelError::Alphabet(part.to_owned()));
            }
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// Which members a command is for: terms joined by commas, all of which must hold.
///
/// A term is `KEY=VALUE` (a label, or one of `name`, `id`, `compute_type`, `server_type`,
/// `status`), `KEY!=VALUE`, or a bare name or id prefix (several bare terms: any of them).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    names: Vec<String>,
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    key: String,
    value: String,
    equal: bool,
}

/// What a selector looks at.
pub trait Selectable {
    /// The value of `key`: a label, or one of the words that [`Selector`] lists.
    fn attribute(&self, key: &str) -> Option<String>;
}

/// Shortest id prefix that counts as naming a machine.
const ID_PREFIX_LENGTH_MIN: usize = 4;

/// Whether `name` is the subject's name or a beginning of its id.
fn is_named(subject: &impl Selectable, name: &str) -> bool {
    subject.attribute("name").as_deref() == Some(name)
        || (name.len() >= ID_PREFIX_LENGTH_MIN
            && subject.attribute("id").is_some_and(|id| id.starts_with(name)))
}

impl Selector {
    /// The first name that none of the `subjects` has.
    #[must_use]
    pub fn unknown<S: Selectable>(&self, subjects: &[S]) -> Option<&str> {
        let is_known = |name: &&String| subjects.iter().any(|subject| is_named(subject, name));
        self.names.iter().find(|name| !is_known(name)).map(String::as_str)
    }

    /// Whether `subject` is meant. The empty selector means everything.
    #[must_use]
    pub fn matches(&self, subject: &impl Selectable) -> bool {
        let named = self.names.is_empty() || self.names.iter().any(|name| is_named(subject, name));
        named
            && self.terms.iter().all(|term| {
                (subject.attribute(&term.key).as_deref() == Some(&term.value)) == term.equal
            })
    }

    /// Its `KEY=VALUE` terms.
    pub fn equalities(&self) -> impl Iterator<Item = (&str, &str)> {
        let equal = self.terms.iter().filter(|term| term.equal);
        equal.map(|term| (term.key.as_str(), term.value.as_str()))
    }

    /// The value that `key` must have, when there is one.
    #[must_use]
    pub fn equal_to(&self, key: &str) -> Option<&str> {
        self.equalities().find(|(named, _)| *named == key).map(|(_, value)| value)
    }

    /// The keys of all its terms.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|term| term.key.as_str())
    }

    /// The names and ids in it.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether this selector means everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.terms.is_empty()
    }
}

/// The text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a selector: NAME, KEY=VALUE or KEY!=VALUE, joined by commas")]
pub struct SelectorError(String);

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut selector = Self::default();
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                _ if part.is_empty() => return Err(SelectorError(text.to_owned())),
                None => selector.names.push(part.to_owned()),
                Some((key, value)) => {
                    let (key, equal) =
                        key.strip_suffix('!').map_or((key, true), |stripped| (stripped, false));
                    if key.is_empty() {
                        return Err(SelectorError(text.to_owned()));
                    }
                    selector.terms.push(Term {
                        key: key.to_owned(),
                        value: value.to_owned(),
                        equal,
                    });
                }
            }
        }
        Ok(selector)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names.iter().cloned();
        let terms = self.terms.iter().map(|term| {
            format!("{}{}{}", term.key, if term.equal { "=" } else { "!=" }, term.value)
        });
        formatter.write_str(&names.chain(terms).collect::<Vec<_>>().join(","))
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() { Ok(Self::default()) } else { text.parse() }
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Subject(Labels);

    impl Selectable for Subject {
        fn attribute(&self, key: &str) -> Option<String> {
            self.0.get(key).cloned()
        }
    }

    fn subject() -> Subject {
        let pairs = [("name", "web-1"), ("id", "abcd1234"), ("zone", "home")];
        Subject(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
    }

    #[test]
    fn selectors_choose_by_name_id_and_label() {
        for (text, meant) in [
            ("web-1", true),
            ("web-2", false),
            ("web-2,web-1", true),
            ("abcd", true),
            ("abc", false),
            ("zone=home", true),
            ("zone!=home", false),
            ("zone!=away,web-1", true),
            ("rack=3", false),
        ] {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.matches(&subject()), meant, "{text}");
            assert_eq!(selector.to_string().parse::<Selector>().unwrap(), selector);
        }
        assert!(Selector::default().matches(&subject()));
        let known = [subject()];
        for (text, unknown) in
            [("web-1,abcd", None), ("web-1,web-3", Some("web-3")), ("zone=x", None)]
        {
            assert_eq!(text.parse::<Selector>().unwrap().unknown(&known), unknown, "{text}");
        }
    }

    #[test]
    fn broken_texts_are_refused() {
        for text in ["", ",", "=x", "a,,b", "!=x"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
        for text in ["zone", "=x", "a=b c", "a=é"] {
            assert!(text.parse::<Label>().is_err(), "{text}");
        }
    }
}
