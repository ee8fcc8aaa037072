//! The merged, validated configuration that every command starts from.

use std::io;
use std::path::Path as FilePath;

use serde_json::{Map, Value};

use crate::config::change::Change;
use crate::config::error::{ConfigError, Problem, Source};
use crate::config::files::{FileError, read_bounded};
use crate::config::home::Home;
use crate::config::layers::{Layer, LayerName, Layers, merge, strip};
use crate::config::module::Modules;
use crate::config::module::carried::CarriedModule;
use crate::config::path::Path;
use crate::config::position::{Position, find};
use crate::config::schema::Config;
use crate::config::typed::{Place, read};
use crate::config::validate::validate;

/// Longer than any configuration file.
const FILE_SIZE_MAX: u64 = 16 * 1024 * 1024;

/// A configuration that is fit for use.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// All layers together.
    pub config: Config,
    /// The layers.
    pub layers: Layers,
    /// What a document written by a later build says that this build does not know; left out.
    pub warnings: Vec<Problem>,
    /// The modules, with those that the configuration carries.
    pub modules: Modules,
}

/// Loads all layers: the modules of this program and of `home`, the file `explicit` (which must
/// exist) or the home's `mutable_config.json` (which need not), and `document`, the value of
/// [`crate::config::document::Document::config_layer`].
///
/// # Errors
/// [`ConfigError`]: all that is wrong in the files, or in all layers together.
pub fn load(
    home: &Home,
    explicit: Option<&FilePath>,
    document: Option<&Value>,
) -> Result<Loaded, ConfigError> {
    let mut modules = Modules::load(home)?;
    let path = explicit.map_or_else(|| home.config_file(), FilePath::to_owned);
    let file = read_file(&path, explicit.is_some())?;
    let document = document.map(|value| document_layer(value.clone()));
    let own: Vec<Layer> = file.into_iter().chain(document).collect();
    let warnings = carry(&mut modules, &own)?;
    let mut layers = modules.layers();
    layers.extend(own);
    let mut loaded = resolve(Layers(layers), modules)?;
    loaded.warnings.extend(warnings);
    Ok(loaded)
}

/// Adds the modules that `layers` carry. One of a file must be sound; one of the document, which a
/// later build may have written, is left out and told.
fn carry(modules: &mut Modules, layers: &[Layer]) -> Result<Vec<Problem>, ConfigError> {
    let mut warnings = Vec::new();
    for layer in layers {
        let Some(carried) = layer.value.get("modules").and_then(Value::as_object) else { continue };
        let mut problems = Vec::new();
        for (name, value) in carried.iter().filter(|(name, _)| !name.starts_with("_comment")) {
            // What has another shape is told by the reading of the whole layer.
            let Ok(module) = serde_json::from_value::<CarriedModule>(value.clone()) else {
                continue;
            };
            if let Err(what) = modules.carry(name, &module) {
                let root = Path::root();
                let text = layer.text.as_deref();
                let place = Place { source: &layer.source, text, path: &root };
                problems.push(place.problem(&root.join("modules").join(name), what));
            }
        }
        match layer.name {
            LayerName::Document => warnings.extend(problems),
            _ if problems.is_empty() => {}
            _ => return Err(ConfigError::Invalid(problems)),
        }
    }
    Ok(warnings)
}

/// Reads one file as `config check FILE` does: alone, on top of the modules.
///
/// # Errors
/// As [`load`].
pub fn check_file(home: &Home, path: &FilePath) -> Result<Loaded, ConfigError> {
    load(home, Some(path), None)
}

fn document_layer(value: Value) -> Layer {
    let value = if value.is_object() { value } else { Value::Object(Map::new()) };
    Layer { name: LayerName::Document, source: Source::Document, text: None, value }
}

fn read_file(path: &FilePath, must_exist: bool) -> Result<Option<Layer>, ConfigError> {
    let content = match read_bounded(path, FILE_SIZE_MAX) {
        Ok(content) => content,
        Err(error) if !must_exist && error.source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let text = String::from_utf8(content).map_err(|error| {
        let wrong = io::Error::new(io::ErrorKind::InvalidData, error);
        FileError::new("read", path)(wrong)
    })?;
    let source = Source::File(path.to_owned());
    let value = parse(&text, &source)?;
    Ok(Some(Layer { name: LayerName::File, source, text: Some(text), value }))
}

/// Reads JSON text that must be an object.
pub(super) fn parse(text: &str, source: &Source) -> Result<Value, ConfigError> {
    let problem = |position, what: String| {
        ConfigError::one(Problem {
            source: source.clone(),
            position,
            path: Path::root(),
            what,
            nearest: None,
            known: Vec::new(),
        })
    };
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let position = Position { line: error.line(), column: error.column() };
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        problem(Some(position), format!("not JSON: {message}"))
    })?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(problem(find(text, &Path::root()), "expected an object".to_owned()))
    }
}

/// Checks each layer by itself, then all together.
fn resolve(layers: Layers, modules: Modules) -> Result<Loaded, ConfigError> {
    let mut merged = Value::Object(Map::new());
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for layer in &layers.0 {
        let root = Path::root();
        let place = Place { source: &layer.source, text: layer.text.as_deref(), path: &root };
        let mut known = strip(&layer.value);
        let (_, found) = read::<Config>(&mut known, place);
        if layer.name == LayerName::Document {
            merge(&mut merged, &without(&layer.value, &found));
            warnings.extend(found);
        } else {
            merge(&mut merged, &layer.value);
            problems.extend(found);
        }
    }
    if !problems.is_empty() {
        return Err(ConfigError::Invalid(problems));
    }
    let root = Path::root();
    let place = Place { source: &Source::Merged, text: None, path: &root };
    let (config, problems) = read::<Config>(&mut strip(&merged), place);
    let Some(config) = config.filter(|_| problems.is_empty()) else {
        return Err(ConfigError::Invalid(problems));
    };
    let problems = validate(&config, &modules.variables());
    if problems.is_empty() {
        return Ok(Loaded { config, layers, warnings, modules });
    }
    let located = problems.into_iter().map(|problem| locate(&layers, problem)).collect();
    Err(ConfigError::Invalid(located))
}

/// `value` without what `problems` name.
fn without(value: &Value, problems: &[Problem]) -> Value {
    let mut value = value.clone();
    for problem in problems {
        // Removing what is not there is no error, and the path of a problem is never the root's.
        let _ = Change::Unset { path: problem.path.clone() }.apply(&mut value);
    }
    value
}

/// Names the layer that decides what stands at a problem's path, and its line there.
fn locate(layers: &Layers, problem: Problem) -> Problem {
    let mut path = problem.path.clone();
    while !path.is_root() {
        if let Some(layer) = layers.origin(&path) {
            let position = layer.text.as_deref().and_then(|text| find(text, &problem.path));
            return Problem { source: layer.source.clone(), position, ..problem };
        }
        path = path.parent();
    }
    problem
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
