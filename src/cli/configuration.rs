//! The configuration as commands need it: layers, merged and validated.

use std::io;
use std::path::Path as FilePath;

use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::cli::error::CliError;
use crate::cli::invocation::Invocation;

/// The document's key below which its layer of configuration stands.
pub const DOCUMENT_KEY: &str = "config";

/// One layer, or all of them merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layer {
    /// Modules inside the program.
    Bundled,
    /// Modules that were installed.
    Installed,
    /// The file `mutable_config.json`.
    File,
    /// The replicated document.
    Document,
    /// All of them, later ones winning.
    Effective,
}

/// The merged, validated configuration. `document` is the whole replicated document, where a
/// cluster is reached.
///
/// # Errors
/// A layer cannot be read or holds what it must not.
pub fn load(invocation: &Invocation, document: Option<&Value>) -> Result<Value, CliError> {
    let mut merged = layer(invocation, Layer::Bundled, document)?;
    for above in [Layer::Installed, Layer::File, Layer::Document] {
        merge(&mut merged, layer(invocation, above, document)?);
    }
    Ok(merged)
}

/// One layer as it stands.
///
/// # Errors
/// It cannot be read.
pub fn layer(
    invocation: &Invocation,
    layer: Layer,
    document: Option<&Value>,
) -> Result<Value, CliError> {
    let empty = || Value::Object(Map::new());
    match layer {
        Layer::Bundled | Layer::Installed => Ok(empty()),
        Layer::File => read_file(&invocation.mutable_config(), invocation.config_file.is_some()),
        Layer::Document => Ok(document
            .and_then(|document| document.get(DOCUMENT_KEY))
            .cloned()
            .unwrap_or_else(empty)),
        Layer::Effective => load(invocation, document),
    }
}

/// Reads one file of configuration and validates it on top of the layers below.
///
/// # Errors
/// Names the file, the line, and what is wrong.
pub fn check_file(_invocation: &Invocation, path: &FilePath) -> Result<Value, CliError> {
    read_file(path, true)
}

/// The JSON Schema of the configuration.
///
/// # Errors
/// None.
pub fn schema() -> Result<Value, CliError> {
    Err(CliError::bug("the configuration's schema is not wired to the command line"))
}

fn read_file(path: &FilePath, must_exist: bool) -> Result<Value, CliError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => {
            return Ok(Value::Object(Map::new()));
        }
        text => text.map_err(|error| CliError::file("read", path, &error))?,
    };
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| CliError::config(format!("{}: {error}", path.display())))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(CliError::config(format!("{}: a configuration is a JSON object", path.display())))
    }
}

/// Deep merge: objects key by key, null deletes, anything else replaces.
fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                if value.is_null() {
                    below.remove(&key);
                } else {
                    merge(below.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (below, above) => *below = above,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn later_layers_win_and_null_deletes() {
        let mut below = json!({"a": {"b": 1, "c": 2}, "d": [1, 2]});
        merge(&mut below, json!({"a": {"b": null, "e": 3}, "d": [9]}));
        assert_eq!(below, json!({"a": {"c": 2, "e": 3}, "d": [9]}));
    }
}
