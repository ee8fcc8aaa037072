//! Requests against the provider's own description.

use std::collections::BTreeMap;

use jsonschema::Validator;
use serde_json::{Value, json};

struct Operation {
    method: String,
    path: String,
    query: BTreeMap<String, Validator>,
    body: Option<Validator>,
}

/// What a provider says it takes.
pub struct Description {
    operations: Vec<Operation>,
}

impl Description {
    /// Reads one of the files in `tests/descriptions`.
    pub fn read(text: &str) -> Self {
        let document: Value = serde_json::from_str(text).unwrap();
        let compile = |schema: &Value| jsonschema::validator_for(schema).unwrap();
        let operations = document["operations"].as_array().unwrap().iter().map(|operation| {
            let query = operation["query"].as_object().unwrap().iter();
            Operation {
                method: operation["method"].as_str().unwrap().to_owned(),
                path: operation["path"].as_str().unwrap().to_owned(),
                query: query.map(|(name, schema)| (name.clone(), compile(schema))).collect(),
                body: operation.get("body").map(compile),
            }
        });
        Self { operations: operations.collect() }
    }

    /// What is wrong with a request.
    pub fn faults(
        &self,
        method: &str,
        path: &str,
        query: &BTreeMap<String, String>,
        body: &Value,
    ) -> Vec<String> {
        let found = self
            .operations
            .iter()
            .find(|operation| operation.method == method && is_path(&operation.path, path));
        let Some(operation) = found else { return vec![format!("{method} {path}: no operation")] };
        let mut faults = Vec::new();
        for (name, value) in query {
            // What looks like a number is one: the query has no types.
            let typed = value.parse::<i64>().map_or_else(|_| json!(value), |number| json!(number));
            match operation.query.get(name) {
                None => faults.push(format!("{method} {path}: no parameter {name:?}")),
                // A list may be given once for each of its items.
                Some(schema)
                    if ![&typed, &json!(value), &json!([value])]
                        .iter()
                        .any(|value| schema.is_valid(value)) =>
                {
                    faults.push(format!("{method} {path}: parameter {name}={value:?}"));
                }
                Some(_) => {}
            }
        }
        match &operation.body {
            None if !body.is_null() => faults.push(format!("{method} {path}: takes no body")),
            None => {}
            Some(schema) => faults.extend(
                schema
                    .iter_errors(body)
                    .map(|error| format!("{method} {path}: {}: {error}", error.instance_path())),
            ),
        }
        faults
    }
}

/// Whether a path has the shape of a template such as `/servers/{id}`.
fn is_path(template: &str, path: &str) -> bool {
    let (left, right) = (template.split('/'), path.split('/'));
    template.split('/').count() == path.split('/').count()
        && left.zip(right).all(
            |(part, own)| {
                if part.starts_with('{') { !own.is_empty() } else { part == own }
            },
        )
}

#[test]
fn a_wrong_path_parameter_and_body_are_found() {
    let description = Description::read(super::DIGITALOCEAN);
    let none = BTreeMap::new();
    let sound = json!({"name": "a", "size": "s", "image": "i", "region": "r"});
    let faults = |method: &str, path: &str, body: &Value| {
        description.faults(method, path, &none, body).len()
    };
    assert_eq!(faults("POST", "/v2/droplets", &sound), 0);
    assert_eq!(faults("GET", "/v2/droplets/7", &Value::Null), 0);
    assert_ne!(faults("POST", "/v2/droplets", &json!({"name": "a", "size": "s"})), 0);
    assert_ne!(
        faults("POST", "/v2/droplets", &json!({"name": "a_b", "size": "s", "image": "i"})),
        0
    );
    let unknown = json!({"name": "a", "size": "s", "image": "i", "datacenter": "x"});
    assert_ne!(faults("POST", "/v2/droplets", &unknown), 0);
    assert_ne!(faults("GET", "/v2/dorplets", &Value::Null), 0);
    let query = BTreeMap::from([("per_page".to_owned(), "201".to_owned())]);
    assert_eq!(description.faults("GET", "/v2/droplets", &query, &Value::Null).len(), 1);
}
