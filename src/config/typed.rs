//! From JSON values to types, with every problem told in words that a user can act on.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::error::{Problem, Source, nearest};
use crate::config::path::Path;
use crate::config::position;

/// Most problems that are told about one text.
const PROBLEMS_MAX: usize = 50;

/// Where a value stands, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p> {
    pub(super) source: &'p Source,
    /// The text that the value was read from, when there is one.
    pub(super) text: Option<&'p str>,
    /// Path of the value in that text.
    pub(super) path: &'p Path,
}

impl Place<'_> {
    /// A problem at `path` below this place.
    pub(super) fn problem(&self, path: &Path, what: impl Into<String>) -> Problem {
        let path = path.under(self.path);
        Problem {
            source: self.source.clone(),
            position: self.text.and_then(|text| position::find(text, &path)),
            path,
            what: what.into(),
            nearest: None,
            known: Vec::new(),
        }
    }
}

/// Reads `value` as `T`. What cannot be read is taken out of `value` and told, so that one reading
/// finds all problems; none is given when even then nothing can be read.
pub(super) fn read<T: DeserializeOwned>(
    value: &mut Value,
    place: Place<'_>,
) -> (Option<T>, Vec<Problem>) {
    let mut problems = Vec::new();
    while problems.len() < PROBLEMS_MAX {
        let error = match serde_path_to_error::deserialize::<_, T>(&*value) {
            Ok(typed) => return (Some(typed), problems),
            Err(error) => error,
        };
        let message = error.inner().to_string();
        let unknown = UnknownKey::parse(&message);
        let path = to_path(error.path());
        let path = unknown.as_ref().map_or(path.clone(), |unknown| unknown.complete(path));
        problems.push(explain(place.problem(&path, ""), &message, unknown));
        if !remove(value, &path) {
            break;
        }
    }
    (None, problems)
}

/// Puts serde's words into ours.
pub(super) fn explain(problem: Problem, message: &str, unknown: Option<UnknownKey<'_>>) -> Problem {
    let Some(unknown) = unknown else {
        return Problem { what: explain_type(message), ..problem };
    };
    let nearest = nearest(unknown.key, unknown.known.iter().copied());
    let known = unknown.known.into_iter().map(str::to_owned).collect();
    Problem { what: "unknown key".to_owned(), nearest, known, ..problem }
}

/// serde's message about a field that a type does not have, which names those that it has.
#[derive(Debug)]
pub(super) struct UnknownKey<'m> {
    key: &'m str,
    known: Vec<&'m str>,
}

impl<'m> UnknownKey<'m> {
    pub(super) fn parse(message: &'m str) -> Option<Self> {
        let rest = message.strip_prefix("unknown field `")?;
        // The key may hold backticks itself; the words behind it cannot come twice.
        let end = rest.find("`, expected ").or_else(|| rest.find("`, there are no fields"))?;
        let (key, rest) = rest.split_at(end);
        let known = rest.split('`').skip(2).step_by(2).collect();
        Some(Self { key, known })
    }

    /// The path of the key, given the path at which serde stopped.
    pub(super) fn complete(&self, path: Path) -> Path {
        if path.keys().last().map(String::as_str) == Some(self.key) {
            path
        } else {
            path.join(self.key)
        }
    }
}

fn explain_type(message: &str) -> String {
    let found_expected = ["invalid type: ", "invalid value: "]
        .into_iter()
        .find_map(|prefix| message.strip_prefix(prefix))
        .and_then(|rest| rest.rsplit_once(", expected "));
    let Some((found, expected)) = found_expected else {
        return message.to_owned();
    };
    let expected = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" => "a whole number of at least 0",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        "a string" => "a text",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    let found = found.replacen("string ", "the text ", 1).replacen("integer ", "the number ", 1);
    let found = match found.as_str() {
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        _ => found.replace('`', ""),
    };
    format!("expected {expected}, found {found}")
}

pub(super) fn to_path(path: &serde_path_to_error::Path) -> Path {
    let keys = path.iter().filter_map(|segment| match segment {
        serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
        serde_path_to_error::Segment::Map { key } => Some(key.clone()),
        serde_path_to_error::Segment::Enum { variant } => Some(variant.clone()),
        serde_path_to_error::Segment::Unknown => None,
    });
    Path::from_keys(keys).unwrap_or_default()
}

/// Takes out what stands at `path`; false when there is nothing.
fn remove(value: &mut Value, path: &Path) -> bool {
    let Some((last, parents)) = path.keys().split_last() else {
        return false;
    };
    let mut here = value;
    for key in parents {
        let next = match here {
            Value::Object(map) => map.get_mut(key),
            Value::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            _ => None,
        };
        match next {
            Some(next) => here = next,
            None => return false,
        }
    }
    match here {
        Value::Object(map) => map.remove(last).is_some(),
        Value::Array(items) => match last.parse::<usize>() {
            Ok(index) if index < items.len() => {
                items.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}
