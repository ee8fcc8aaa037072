//! Layers of configuration and their merge.

use std::fmt;

use serde_json::{Map, Value};

use crate::config::error::Source;
use crate::config::path::Path;

/// The layers, the first the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerName {
    /// Modules inside this program.
    Bundled,
    /// Modules in the home folder.
    Installed,
    /// `mutable_config.json`.
    File,
    /// `config` in the replicated document.
    Document,
}

impl LayerName {
    /// All of them, the weakest first.
    pub const ALL: [Self; 4] = [Self::Bundled, Self::Installed, Self::File, Self::Document];

    /// The name as `config show --layer` takes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bundled => "bundled",
            Self::Installed => "installed",
            Self::File => "file",
            Self::Document => "document",
        }
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl std::str::FromStr for LayerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no layer: bundled, installed, file or document"))
    }
}

/// One layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Which.
    pub name: LayerName,
    /// Where it came from.
    pub source: Source,
    /// Its text, where it came from a file, for line numbers.
    pub text: Option<String>,
    /// What it says.
    pub value: Value,
}

/// All layers, the weakest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layers(pub Vec<Layer>);

impl Layers {
    /// The layers together.
    #[must_use]
    pub fn merged(&self) -> Value {
        let mut merged = Value::Object(Map::new());
        for layer in &self.0 {
            merge(&mut merged, &layer.value);
        }
        merged
    }

    /// One layer's values; an empty object when there is none.
    #[must_use]
    pub fn value(&self, name: LayerName) -> Value {
        let mut value = Value::Object(Map::new());
        for layer in self.0.iter().filter(|layer| layer.name == name) {
            merge(&mut value, &layer.value);
        }
        value
    }

    /// One layer's values as they were written, its nulls included: what `config show --layer`
    /// prints and what a change to the layer starts from.
    #[must_use]
    pub fn value_raw(&self, name: LayerName) -> Value {
        let mut layers = self.0.iter().filter(|layer| layer.name == name);
        match (layers.next(), layers.next()) {
            (Some(only), None) => only.value.clone(),
            _ => self.value(name),
        }
    }

    /// The layer that decides what stands at `path`: the strongest that says anything there.
    #[must_use]
    pub fn origin(&self, path: &Path) -> Option<&Layer> {
        self.0.iter().rev().find(|layer| path.find(&layer.value).is_some())
    }
}

/// Lays `over` on `base`: objects merge key by key, null deletes, everything else replaces.
/// This is the merge patch of RFC 7396.
pub fn merge(base: &mut Value, over: &Value) {
    let Value::Object(over) = over else {
        *base = over.clone();
        return;
    };
    if !base.is_object() {
        *base = Value::Object(Map::new());
    }
    let Value::Object(base) = base else { return };
    for (key, value) in over {
        if value.is_null() {
            base.remove(key);
        } else {
            merge(base.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Keys that begin like this are remarks for people.
const COMMENT: &str = "_comment";

/// `value` without remarks and without nulls, which only mean something in a merge.
#[must_use]
pub fn strip(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(key, value)| !key.starts_with(COMMENT) && !value.is_null())
                .map(|(key, value)| (key.clone(), strip(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn merged(base: &Value, over: &Value) -> Value {
        let mut result = base.clone();
        merge(&mut result, over);
        result
    }

    #[test]
    fn objects_merge_nulls_delete_the_rest_replaces() {
        let base = json!({"a": {"x": 1, "y": 2}, "b": [1], "c": 1});
        let over = json!({"a": {"y": null, "z": 3}, "b": [2], "c": {"d": null}});
        assert_eq!(merged(&base, &over), json!({"a": {"x": 1, "z": 3}, "b": [2], "c": {}}));
    }

    #[test]
    fn the_strongest_layer_that_speaks_is_the_origin() {
        let layer = |name, value| Layer { name, source: Source::Document, text: None, value };
        let layers = Layers(vec![
            layer(LayerName::Bundled, json!({"a": {"x": 1, "y": 1}})),
            layer(LayerName::File, json!({"a": {"y": 2}})),
        ]);
        let origin = |path: &str| layers.origin(&path.parse().unwrap()).map(|layer| layer.name);
        assert_eq!(origin("a.x"), Some(LayerName::Bundled));
        assert_eq!(origin("a.y"), Some(LayerName::File));
        assert_eq!(origin("b"), None);
    }

    #[test]
    fn remarks_and_nulls_are_stripped_everywhere() {
        let value = json!({"_comment": "x", "a": {"_comment_2": 1, "b": null, "c": [null]}});
        assert_eq!(strip(&value), json!({"a": {"c": [null]}}));
    }

    /// JSON; nulls in objects when `nulls`.
    fn tree(nulls: bool) -> impl Strategy<Value = Value> {
        let leaf = if nulls {
            prop_oneof![Just(Value::Null), any::<u8>().prop_map(Value::from)].boxed()
        } else {
            any::<u8>().prop_map(Value::from).boxed()
        };
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop::collection::btree_map("[abc]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        })
    }

    fn object(nulls: bool) -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[abc]", tree(nulls), 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    /// Whether a value of `over` is an object where `base` has something else, or the reverse.
    fn changes_shape(base: &Value, over: &Value) -> bool {
        match (base, over) {
            (Value::Object(base), Value::Object(over)) => over
                .iter()
                .any(|(key, value)| base.get(key).is_some_and(|held| changes_shape(held, value))),
            (base, over) => base.is_object() != over.is_object(),
        }
    }

    proptest! {
        #[test]
        fn nothing_laid_on_changes_nothing(a in object(false)) {
            prop_assert_eq!(merged(&a, &json!({})), a.clone());
            prop_assert_eq!(merged(&json!({}), &a), a);
        }

        #[test]
        fn laying_on_twice_is_laying_on_once(a in object(false), b in object(true)) {
            let once = merged(&a, &b);
            prop_assert_eq!(merged(&once, &b), once);
        }

        #[test]
        fn a_null_deletes(a in object(false), key in "[abc]") {
            let result = merged(&a, &json!({key.as_str(): null}));
            prop_assert!(result.get(&key).is_none());
        }

        #[test]
        fn no_null_survives(a in object(false), b in object(true)) {
            prop_assert_eq!(strip(&merged(&a, &b)), merged(&a, &b));
        }

        #[test]
        fn grouping_does_not_matter_without_nulls(
            a in object(false), b in object(false), c in object(false),
        ) {
            // Where a layer puts an object in the place of a plain value the grouping does
            // matter (RFC 7396 has no way to say "replace by this object").
            prop_assume!(!changes_shape(&a, &b) && !changes_shape(&b, &c));
            prop_assume!(!changes_shape(&a, &c));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        }
    }
}
