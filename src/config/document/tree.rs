//! JSON in the CRDT: objects are mergeable maps, everything else is a plain value.
//!
//! A mergeable map is named by its place, so two machines that create the same object apart from
//! each other create one object. The price: its contents outlive its removal, hidden. So removal
//! empties what it removes, and creation empties what it finds hidden; a key that was deleted
//! never comes back with an object of the same name.

use loro::{Container, LoroError, LoroMap, LoroValue, ValueOrContainer};
use serde_json::{Map, Number, Value};

use crate::config::change::Change;

/// Makes `change` below `root`. The change must be one that [`Change::apply`] accepts.
pub(super) fn apply(root: &LoroMap, change: &Change) -> Result<(), LoroError> {
    let Some((last, parents)) = change.path().keys().split_last() else {
        return Ok(());
    };
    match change {
        Change::Set { value, .. } => {
            let mut map = root.clone();
            for key in parents {
                map = ensure_map(&map, key)?;
            }
            put(&map, last, value)
        }
        Change::Unset { .. } => {
            let mut map = root.clone();
            for key in parents {
                match child(&map, key) {
                    Some(next) => map = next,
                    None => return Ok(()),
                }
            }
            remove(&map, last)
        }
    }
}

/// The map at `key`, created empty where there is none.
fn ensure_map(parent: &LoroMap, key: &str) -> Result<LoroMap, LoroError> {
    if let Some(map) = child(parent, key) {
        return Ok(map);
    }
    if parent.get(key).is_some() {
        parent.delete(key)?;
    }
    let map = parent.ensure_mergeable_map(key)?;
    empty(&map)?;
    Ok(map)
}

/// Makes `key` of `parent` equal to `value`, touching only what differs, so that what two
/// machines write side by side in one object is kept.
fn put(parent: &LoroMap, key: &str, value: &Value) -> Result<(), LoroError> {
    let Value::Object(wanted) = value else {
        if let Some(map) = child(parent, key) {
            empty(&map)?;
        }
        return parent.insert(key, to_loro(value));
    };
    let map = ensure_map(parent, key)?;
    let surplus: Vec<String> =
        map.keys().map(|key| key.to_string()).filter(|key| !wanted.contains_key(key)).collect();
    for key in surplus {
        remove(&map, &key)?;
    }
    wanted.iter().try_for_each(|(key, value)| put(&map, key, value))
}

fn remove(parent: &LoroMap, key: &str) -> Result<(), LoroError> {
    if let Some(map) = child(parent, key) {
        empty(&map)?;
    }
    if parent.get(key).is_some() { parent.delete(key) } else { Ok(()) }
}

fn empty(map: &LoroMap) -> Result<(), LoroError> {
    let keys: Vec<String> = map.keys().map(|key| key.to_string()).collect();
    keys.iter().try_for_each(|key| remove(map, key))
}

fn child(parent: &LoroMap, key: &str) -> Option<LoroMap> {
    match parent.get(key) {
        Some(ValueOrContainer::Container(Container::Map(map))) => Some(map),
        _ => None,
    }
}

/// The JSON below `map`.
pub(super) fn read(map: &LoroMap) -> Value {
    from_loro(&map.get_deep_value())
}

/// The JSON at one top-level key, without reading the rest.
pub(super) fn read_key(map: &LoroMap, key: &str) -> Option<Value> {
    Some(from_loro(&map.get(key)?.get_deep_value()))
}

fn to_loro(value: &Value) -> LoroValue {
    match value {
        Value::Null => LoroValue::Null,
        Value::Bool(flag) => LoroValue::Bool(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => LoroValue::I64(integer),
            None => LoroValue::Double(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => LoroValue::from(text.as_str()),
        Value::Array(items) => {
            LoroValue::from(items.iter().map(to_loro).collect::<Vec<LoroValue>>())
        }
        Value::Object(map) => LoroValue::Map(
            map.iter()
                .map(|(key, value)| (key.clone(), to_loro(value)))
                .collect::<std::collections::HashMap<_, _>>()
                .into(),
        ),
    }
}

/// What JSON cannot hold (bytes, numbers that are none) becomes null: only a build that is not
/// ours writes such values, and reading the rest must not fail for them.
fn from_loro(value: &LoroValue) -> Value {
    match value {
        LoroValue::Null | LoroValue::Binary(_) | LoroValue::Container(_) => Value::Null,
        LoroValue::Bool(flag) => Value::Bool(*flag),
        LoroValue::Double(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        LoroValue::I64(integer) => Value::from(*integer),
        LoroValue::String(text) => Value::from(text.as_str()),
        LoroValue::List(items) => Value::Array(items.iter().map(from_loro).collect()),
        LoroValue::Map(map) => Value::Object(
            map.iter().map(|(key, value)| (key.clone(), from_loro(value))).collect::<Map<_, _>>(),
        ),
    }
}
