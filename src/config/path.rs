//! Where a value stands in a JSON tree: `mesh.rings`, `modules."a.b"` or `/mesh/rings`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// Most keys on one path: deeper trees are refused, so that no reader runs out of stack.
pub const DEPTH_MAX: usize = 64;

/// Longest key in bytes.
const KEY_LENGTH_MAX: usize = 1024;

/// The keys from the root down to a value. The empty path is the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Path(Vec<String>);

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Two dots in a row, or a dot at either end.
    #[error("{0:?} has an empty key; write \"\" for one that is meant")]
    EmptyKey(String),
    /// A `"` that is not closed, or text beside a quoted key.
    #[error("{0:?} has a quoted key that does not end at a dot")]
    Quote(String),
    /// A `~` that is neither `~0` nor `~1` (RFC 6901, section 3).
    #[error("{0:?} has a '~' that is neither ~0 nor ~1")]
    Tilde(String),
    /// More than [`DEPTH_MAX`] keys.
    #[error("a path of {0} keys; at most 64 are accepted")]
    TooDeep(usize),
    /// A key longer than 1,024 bytes.
    #[error("a key of {0} bytes; at most 1024 are accepted")]
    KeyTooLong(usize),
}

impl Path {
    /// A path from keys.
    ///
    /// # Errors
    /// [`PathError::TooDeep`] and [`PathError::KeyTooLong`].
    pub fn from_keys<K: Into<String>>(
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Self, PathError> {
        let keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        if keys.len() > DEPTH_MAX {
            return Err(PathError::TooDeep(keys.len()));
        }
        match keys.iter().find(|key| key.len() > KEY_LENGTH_MAX) {
            Some(key) => Err(PathError::KeyTooLong(key.len())),
            None => Ok(Self(keys)),
        }
    }

    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// The keys from the root down.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.0
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// This path with one more key below it.
    #[must_use]
    pub fn join(&self, key: impl Into<String>) -> Self {
        let mut keys = self.0.clone();
        keys.push(key.into());
        Self(keys)
    }

    /// This path without its last key; the root stays the root.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self(self.0.split_last().map_or_else(Vec::new, |(_, parents)| parents.to_vec()))
    }

    /// This path below `parent`: `config` + `mesh.rings` = `config.mesh.rings`.
    #[must_use]
    pub fn under(&self, parent: &Self) -> Self {
        Self(parent.0.iter().chain(&self.0).cloned().collect())
    }

    /// What remains of this path below `parent`; none when it lies elsewhere.
    #[must_use]
    pub fn relative_to(&self, parent: &Self) -> Option<Self> {
        self.0.strip_prefix(parent.0.as_slice()).map(|rest| Self(rest.to_vec()))
    }

    /// The value at this path of `tree`. A number is also an index into an array.
    #[must_use]
    pub fn find<'v>(&self, tree: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(tree, |value, key| match value {
            Value::Object(map) => map.get(key),
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let keys = if text.is_empty() {
            Vec::new()
        } else if let Some(pointer) = text.strip_prefix('/') {
            parse_pointer(text, pointer)?
        } else {
            parse_dotted(text)?
        };
        Self::from_keys(keys)
    }
}

/// JSON pointer (RFC 6901), its first `/` taken off.
fn parse_pointer(text: &str, pointer: &str) -> Result<Vec<String>, PathError> {
    let unescape = |part: &str| {
        let mut key = String::with_capacity(part.len());
        let mut letters = part.chars();
        while let Some(letter) = letters.next() {
            key.push(match letter {
                '~' => match letters.next() {
                    Some('0') => '~',
                    Some('1') => '/',
                    _ => return Err(PathError::Tilde(shorten(text))),
                },
                plain => plain,
            });
        }
        Ok(key)
    };
    pointer.split('/').map(unescape).collect()
}

/// Keys joined by dots; a key in JSON quotes may hold anything.
fn parse_dotted(text: &str) -> Result<Vec<String>, PathError> {
    let mut keys = Vec::new();
    let mut rest = text;
    loop {
        let (key, after) = if rest.starts_with('"') {
            let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            match stream.next() {
                Some(Ok(key)) => (key, &rest[stream.byte_offset()..]),
                _ => return Err(PathError::Quote(shorten(text))),
            }
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            if end == 0 {
                return Err(PathError::EmptyKey(shorten(text)));
            }
            (rest[..end].to_owned(), &rest[end..])
        };
        keys.push(key);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(keys),
            None => return Err(PathError::Quote(shorten(text))),
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Whether a key can stand without quotes and be read back as itself.
fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key.chars().all(|letter| letter.is_alphanumeric() || "_-@:$".contains(letter))
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(".")?;
            }
            if is_plain(key) {
                formatter.write_str(key)?;
            } else {
                write!(formatter, "{}", Value::from(key.as_str()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(text: &str) -> Vec<String> {
        text.parse::<Path>().unwrap().keys().to_vec()
    }

    #[test]
    fn both_notations_name_the_same_place() {
        assert_eq!(keys("a.b.c"), ["a", "b", "c"]);
        assert_eq!(keys("/a/b/c"), ["a", "b", "c"]);
        assert_eq!(keys(r#"a."b.c".d"#), ["a", "b.c", "d"]);
        assert_eq!(keys("/a/b.c/~0~1"), ["a", "b.c", "~/"]);
        assert_eq!(keys(r#""".x"#), ["", "x"]);
        assert!(keys("").is_empty());
    }

    #[test]
    fn broken_paths_are_refused() {
        for text in ["a..b", ".a", "a.", r#""a"#, r#""a"b"#, "/~2", "/a~"] {
            assert!(text.parse::<Path>().is_err(), "{text}");
        }
        let deep = vec!["a"; DEPTH_MAX + 1].join(".");
        assert_eq!(deep.parse::<Path>(), Err(PathError::TooDeep(DEPTH_MAX + 1)));
    }

    #[test]
    fn finds_through_objects_and_arrays() {
        let tree = serde_json::json!({"a": [{"b": 7}]});
        assert_eq!(keys("a.0.b").len(), 3);
        assert_eq!("a.0.b".parse::<Path>().unwrap().find(&tree), Some(&Value::from(7)));
        assert_eq!("a.1.b".parse::<Path>().unwrap().find(&tree), None);
    }

    proptest! {
        #[test]
        fn shown_paths_read_back(keys in proptest::collection::vec(any::<String>(), 0..6)) {
            let path = Path::from_keys(keys).unwrap();
            prop_assert_eq!(path.to_string().parse::<Path>().unwrap(), path);
        }
    }

    #[test]
    fn no_text_panics() {
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let _ = String::from_utf8_lossy(bytes).parse::<Path>();
        });
    }
}
