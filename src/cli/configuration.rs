//! The configuration as commands need it: layers, merged and validated.

use std::path::Path as FilePath;

use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::invocation::Invocation;
use crate::config::document::views::CONFIG;
use crate::config::error::ConfigError;
use crate::config::error::Problem;
use crate::config::home::Home;
use crate::config::layers::LayerName;
use crate::config::layers::merge;
use crate::config::load;
use crate::config::load::Loaded;
use crate::config::schema;

/// The document's key below which its layer of configuration stands.
pub const DOCUMENT_KEY: &str = CONFIG;

/// What only a machine's own file can say, as it stands in a layer.
const OWN_KEYS: [&str; 2] = ["/mesh/reach", "/mesh/parent"];

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

impl Layer {
    fn name(self) -> Option<LayerName> {
        match self {
            Self::Bundled => Some(LayerName::Bundled),
            Self::Installed => Some(LayerName::Installed),
            Self::File => Some(LayerName::File),
            Self::Document => Some(LayerName::Document),
            Self::Effective => None,
        }
    }
}

/// The merged, validated configuration in its typed form. `document` is the whole replicated
/// document, where a cluster is reached.
///
/// # Errors
/// A layer cannot be read or holds what it must not.
pub fn loaded(invocation: &Invocation, document: Option<&Value>) -> Result<Loaded, CliError> {
    let home = Home::new(&invocation.home);
    let layer = document.and_then(|document| document.get(DOCUMENT_KEY));
    load::load(&home, invocation.config_file.as_deref(), layer).map_err(|error| folded(&error))
}

/// The merged, validated configuration with its defaults, and with what only the document's
/// writers know the meaning of.
///
/// # Errors
/// As [`loaded`].
pub fn load(invocation: &Invocation, document: Option<&Value>) -> Result<Value, CliError> {
    let loaded = loaded(invocation, document)?;
    let mut effective = serde_json::to_value(&loaded.config)
        .map_err(|error| CliError::bug(format!("the configuration has no JSON form: {error}")))?;
    merge(&mut effective, &loaded.layers.merged());
    Ok(effective)
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
    match layer.name() {
        None => load(invocation, document),
        Some(name) => {
            let value = loaded(invocation, document)?.layers.value_raw(name);
            Ok(if value.is_null() { Value::Object(Map::new()) } else { value })
        }
    }
}

/// Says whether `after` may take the place of the document `before`. A key of the top level that
/// resembles no key of ours is the user's own and passes; any other unknown key is a mistake.
///
/// # Errors
/// What would be wrong.
pub fn check_document(
    invocation: &Invocation,
    before: &Value,
    after: &Value,
) -> Result<(), CliError> {
    for key in OWN_KEYS {
        if after.get(DOCUMENT_KEY).and_then(|layer| layer.pointer(key)).is_some() {
            let key = key.trim_start_matches('/').replace('/', ".");
            let why = format!("{key} is each machine's own: in the document it would hold for all");
            let hint = "write it into mutable_config.json of that machine's home";
            return Err(CliError::user(why).with_hint(hint));
        }
    }
    let known = loaded(invocation, Some(before))?.warnings;
    let mistakes: Vec<Problem> = loaded(invocation, Some(after))?
        .warnings
        .into_iter()
        .filter(|problem| !known.contains(problem))
        .filter(|problem| problem.path.keys().len() > 1 || problem.nearest.is_some())
        .collect();
    if mistakes.is_empty() { Ok(()) } else { Err(folded(&ConfigError::Invalid(mistakes))) }
}

/// Reads one file of configuration and validates it on top of the modules.
///
/// # Errors
/// Names the file, the line, and what is wrong.
pub fn check_file(invocation: &Invocation, path: &FilePath) -> Result<Value, CliError> {
    let home = Home::new(&invocation.home);
    let loaded = load::check_file(&home, path).map_err(|error| folded(&error))?;
    Ok(loaded.layers.value_raw(LayerName::File))
}

/// The JSON Schema of the configuration.
#[must_use]
pub fn schema() -> Value {
    schema::schema()
}

fn folded(error: &ConfigError) -> CliError {
    let told = CliError::caused(Kind::Config, error);
    match error {
        // The schema is no help against a file that cannot be read.
        ConfigError::File(_) => told.with_hint("check the path, and who may read it"),
        _ => told.with_hint("`raptor config schema` prints what is possible"),
    }
}
