//! Changes to a JSON tree: what `config set` and `config unset` ask for.

use serde_json::{Map, Value};

use crate::config::path::{DEPTH_MAX, Path};

/// One change at one place.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Puts `value` at `path`, in the place of whatever stands there.
    Set {
        /// Where.
        path: Path,
        /// What.
        value: Value,
    },
    /// Removes what stands at `path`; nothing there is no error.
    Unset {
        /// Where.
        path: Path,
    },
}

/// Why a change cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The root itself cannot be replaced or removed.
    #[error("a change needs the path of a key")]
    Root,
    /// A value on the way is no object, so nothing can stand below it.
    #[error("{path} is {found}, not an object: nothing can stand below it")]
    NotAnObject {
        /// Where the way ends.
        path: Path,
        /// What stands there.
        found: &'static str,
    },
    /// Deeper than [`DEPTH_MAX`] levels.
    #[error("{path} would be nested deeper than 64 levels")]
    TooDeep {
        /// Where the change was to be.
        path: Path,
    },
    /// An integer beyond 64 signed bits, which the document cannot hold exactly.
    #[error("{path}: {number} does not fit a signed 64-bit integer")]
    Number {
        /// Where the change was to be.
        path: Path,
        /// The number.
        number: u64,
    },
}

impl Change {
    /// Where the change is.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Set { path, .. } | Self::Unset { path } => path,
        }
    }

    /// Checks what can be checked without a tree.
    ///
    /// # Errors
    /// All of [`ChangeError`] but `NotAnObject`.
    pub fn check(&self) -> Result<(), ChangeError> {
        if self.path().is_root() {
            return Err(ChangeError::Root);
        }
        match self {
            Self::Set { path, value } => check_value(path, value, path.keys().len()),
            Self::Unset { .. } => Ok(()),
        }
    }

    /// A change that leaves no empty object behind in `tree`: of a removal, the outermost object
    /// that would hold nothing more goes as a whole.
    #[must_use]
    pub fn without_remains(self, tree: &Value) -> Self {
        let Self::Unset { path } = self else { return self };
        let mut keys = path.keys().to_vec();
        while let Some((last, parents)) = keys.split_last() {
            let parent = parents.iter().try_fold(tree, |here, key| here.get(key.as_str()));
            let is_alone = parent
                .and_then(Value::as_object)
                .is_some_and(|parent| parent.len() == 1 && parent.contains_key(last));
            if !is_alone || parents.is_empty() {
                break;
            }
            keys.pop();
        }
        Self::Unset { path: Path::from_keys(keys).unwrap_or(path) }
    }

    /// Makes the change in `tree`, which becomes an object where it is none.
    ///
    /// # Errors
    /// As [`ChangeError`] says; `tree` is then as it was.
    pub fn apply(&self, tree: &mut Value) -> Result<(), ChangeError> {
        self.check()?;
        let Some((last, parents)) = self.path().keys().split_last() else {
            return Err(ChangeError::Root);
        };
        match self {
            Self::Set { path, value } => {
                check_way(path, tree, parents)?;
                let mut map = object(tree);
                for key in parents {
                    map = object(map.entry(key.clone()).or_insert(Value::Null));
                }
                map.insert(last.clone(), value.clone());
            }
            Self::Unset { .. } => {
                let mut here = Some(tree);
                for key in parents {
                    here = here.and_then(|value| value.get_mut(key.as_str()));
                }
                if let Some(Value::Object(map)) = here {
                    map.remove(last);
                }
            }
        }
        Ok(())
    }
}

/// `value` as an object; null becomes an empty one, and so does anything else.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

fn check_way(path: &Path, tree: &Value, parents: &[String]) -> Result<(), ChangeError> {
    let mut here = Some(tree);
    for (depth, key) in parents.iter().enumerate() {
        here = here.and_then(|value| value.get(key.as_str()));
        match here {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Object(_)) => {}
            Some(other) => {
                let keys = path.keys().iter().take(depth + 1).cloned();
                let path = Path::from_keys(keys).unwrap_or_default();
                return Err(ChangeError::NotAnObject { path, found: kind(other) });
            }
        }
    }
    Ok(())
}

fn check_value(path: &Path, value: &Value, depth: usize) -> Result<(), ChangeError> {
    if depth > DEPTH_MAX {
        return Err(ChangeError::TooDeep { path: path.clone() });
    }
    match value {
        Value::Number(number) => match number.as_u64() {
            Some(number) if i64::try_from(number).is_err() => {
                Err(ChangeError::Number { path: path.clone(), number })
            }
            _ => Ok(()),
        },
        Value::Array(items) => items.iter().try_for_each(|item| check_value(path, item, depth + 1)),
        Value::Object(map) => {
            map.values().try_for_each(|child| check_value(path, child, depth + 1))
        }
        _ => Ok(()),
    }
}

/// What a value is, for people.
#[must_use]
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(path: &str, value: Value) -> Change {
        Change::Set { path: path.parse().unwrap(), value }
    }

    fn unset(path: &str) -> Change {
        Change::Unset { path: path.parse().unwrap() }
    }

    #[test]
    fn sets_and_unsets() {
        let mut tree = json!({"a": null, "b": 1});
        set("a.x.y", json!([1])).apply(&mut tree).unwrap();
        assert_eq!(tree, json!({"a": {"x": {"y": [1]}}, "b": 1}));
        unset("a.x.y").apply(&mut tree).unwrap();
        unset("nothing.here").apply(&mut tree).unwrap();
        assert_eq!(tree, json!({"a": {"x": {}}, "b": 1}));
    }

    #[test]
    fn refuses_what_cannot_stand() {
        let mut tree = json!({"b": 1});
        let error = set("b.c", json!(2)).apply(&mut tree).unwrap_err();
        assert_eq!(error.to_string(), "b is a number, not an object: nothing can stand below it");
        assert_eq!(tree, json!({"b": 1}));
        assert!(matches!(set("n", json!(u64::MAX)).check(), Err(ChangeError::Number { .. })));
        assert_eq!(unset("").check(), Err(ChangeError::Root));
        let deep = (0..DEPTH_MAX).fold(json!(1), |inner, _| json!([inner]));
        assert!(matches!(set("d", deep).check(), Err(ChangeError::TooDeep { .. })));
    }
}
