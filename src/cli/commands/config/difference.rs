//! Changes that lead from one configuration to another. Pure.

use serde_json::{Map, Value};

use crate::config::change::Change;
use crate::config::path::Path;

/// The changes that turn `before` into `after`, as few and as deep as they can be, so that what
/// somebody else changes beside them at the same time stays.
pub fn between(before: &Value, after: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    if let (Value::Object(before), Value::Object(after)) = (before, after) {
        compare(&Path::root(), before, after, &mut changes);
    }
    changes
}

fn compare(
    here: &Path,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    changes: &mut Vec<Change>,
) {
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        changes.push(Change::Unset { path: here.join(key) });
    }
    for (key, value) in after {
        let path = here.join(key);
        match (before.get(key), value) {
            (Some(same), value) if same == value => {}
            (Some(Value::Object(before)), Value::Object(after)) => {
                compare(&path, before, after, changes);
            }
            (_, value) => changes.push(Change::Set { path, value: value.clone() }),
        }
    }
}

/// The changes that merge `patch` into whatever is there: null deletes.
pub fn patch(patch: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    if let Value::Object(layer) = patch {
        descend(&Path::root(), layer, &mut changes);
    }
    changes
}

fn descend(here: &Path, layer: &Map<String, Value>, changes: &mut Vec<Change>) {
    for (key, value) in layer {
        let path = here.join(key);
        match value {
            Value::Null => changes.push(Change::Unset { path }),
            Value::Object(inner) if !inner.is_empty() => descend(&path, inner, changes),
            // An empty object takes nothing away from one that is there.
            Value::Object(_) => {}
            value => changes.push(Change::Set { path, value: value.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn apply(tree: &Value, changes: &[Change]) -> Value {
        let mut tree = tree.clone();
        for change in changes {
            change.apply(&mut tree).unwrap();
        }
        tree
    }

    #[test]
    fn a_patch_touches_only_what_it_names() {
        let before = json!({"a": {"b": 1, "c": 2}, "d": 3});
        let changes = patch(&json!({"a": {"b": null, "e": 4}, "d": {}}));
        assert_eq!(apply(&before, &changes), json!({"a": {"c": 2, "e": 4}, "d": 3}));
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<i32>().prop_map(Value::from), "[a-c]".prop_map(Value::from)];
        let node = leaf.prop_recursive(3, 20, 4, |inner| {
            proptest::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        });
        proptest::collection::btree_map("[a-d]", node, 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn the_changes_between_two_trees_lead_from_one_to_the_other(before in tree(), after in tree()) {
            prop_assert_eq!(apply(&before, &between(&before, &after)), after);
        }
    }
}
