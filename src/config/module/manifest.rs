//! Manifests: `module.toml` or `module.json`, one in each module's folder.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::error::{ConfigError, Problem, Source, nearest};
use crate::config::load;
use crate::config::module::step::{ModuleStep, PACKAGE_MANAGERS, Script, is_package_name};
use crate::config::module::template::fill;
use crate::config::module::variable::{Variable, is_sound_name};
use crate::config::module::{Files, Module};
use crate::config::path::Path;
use crate::config::position::Position;
use crate::config::typed::{Place, UnknownKey, explain, read, to_path};

const TOML: &str = "module.toml";
const JSON: &str = "module.json";

/// Longest name of a module.
const NAME_LENGTH_MAX: usize = 63;

/// The manifest of a compute type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComputeTypeManifest {
    /// `compute_type`.
    pub kind: String,
    /// The folder's name.
    pub name: String,
    /// Version of the module.
    #[serde(default)]
    pub version: Option<String>,
    /// Which back-end drives it.
    pub driver: String,
    /// What it is, for people.
    #[serde(default)]
    pub description: String,
    /// Defaults of `compute_types.<name>`.
    #[serde(default)]
    pub config: Map<String, Value>,
}

/// The manifest of a provisioning module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvisioningManifest {
    /// `provisioning`.
    pub kind: String,
    /// The folder's name.
    pub name: String,
    /// Version of the module.
    #[serde(default)]
    pub version: Option<String>,
    /// What it does, for people.
    #[serde(default)]
    pub description: String,
    /// Modules that come before it.
    #[serde(default)]
    pub requires: Vec<String>,
    /// What its scripts find in their environment and its templates as `${name}`. Users set them in
    /// the configuration: `provision.variables` and `server_types.NAME.variables`.
    #[serde(default)]
    pub variables: BTreeMap<String, Variable>,
    /// Exits with 0 where all of it stands: then a module that did not change is done.
    #[serde(default)]
    pub check: Option<Script>,
    /// Whether it may lock us out: once a step was done, a new connection must succeed.
    #[serde(default)]
    pub reconnect: bool,
    /// What is done, in this order.
    #[serde(default)]
    pub steps: Vec<ModuleStep>,
    /// Files of the module that its scripts need beside them.
    #[serde(default)]
    pub files: Vec<String>,
}

/// What both kinds of manifest have.
pub(super) trait Manifest: DeserializeOwned {
    /// The word that `kind` must hold.
    const KIND: &'static str;
    fn kind(&self) -> &str;
    fn name(&self) -> &str;
    /// Files that must be there, each with the path of the key that names it.
    fn named_files(&self) -> Vec<(Path, &str)>;
    /// What is wrong beyond missing files: where, and what.
    fn faults(&self, files: &Files) -> Vec<(Path, String)>;
}

impl Manifest for ComputeTypeManifest {
    const KIND: &'static str = "compute_type";
    fn kind(&self) -> &str {
        &self.kind
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn named_files(&self) -> Vec<(Path, &str)> {
        Vec::new()
    }
    fn faults(&self, _files: &Files) -> Vec<(Path, String)> {
        Vec::new()
    }
}

impl Manifest for ProvisioningManifest {
    const KIND: &'static str = "provisioning";
    fn kind(&self) -> &str {
        &self.kind
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn named_files(&self) -> Vec<(Path, &str)> {
        let root = Path::root();
        let files = self.files.iter().enumerate();
        let files =
            files.map(|(index, name)| (root.join("files").join(index.to_string()), name.as_str()));
        let steps = self.steps.iter().enumerate().flat_map(|(index, step)| {
            let path = Path::root().join("steps").join(index.to_string());
            let scripts = [("check", &step.check), ("apply", &step.apply), ("undo", &step.undo)];
            let scripts = scripts.map(|(key, script)| (path.join(key), script.as_ref()));
            let placed = step.files.iter().enumerate().map(move |(index, file)| {
                let place = path.join("files").join(index.to_string()).join("source");
                (place, file.source.as_str())
            });
            let scripts = scripts.into_iter().filter_map(|(path, script)| named(path, script));
            scripts.chain(placed).collect::<Vec<_>>()
        });
        let own = named(root.join("check"), self.check.as_ref());
        files.chain(own).chain(steps).collect()
    }
    fn faults(&self, files: &Files) -> Vec<(Path, String)> {
        let root = Path::root();
        let mut faults = Vec::new();
        for (name, variable) in &self.variables {
            let path = root.join("variables").join(name);
            if !is_sound_name(name) {
                faults.push((path, "no name for a variable of a script".to_owned()));
            } else if let Some(fault) =
                variable.default.as_ref().and_then(|value| variable.fault(value))
            {
                faults.push((path.join("default"), fault));
            }
        }
        for (index, step) in self.steps.iter().enumerate() {
            let path = root.join("steps").join(index.to_string());
            if step.apply.is_none() && step.packages.is_empty() && step.files.is_empty() {
                faults.push((path.clone(), "it has neither apply, packages nor files".to_owned()));
            }
            faults.extend(package_faults(step, &path.join("packages")));
            for (index, file) in step.files.iter().enumerate() {
                let path = path.join("files").join(index.to_string());
                if let Some((key, fault)) = file.fault() {
                    faults.push((path.join(key), fault));
                }
                let content = files.get(&file.source).filter(|_| file.template);
                let wrong = content.and_then(|content| self.template_fault(content));
                faults.extend(wrong.map(|wrong| (path.join("source"), wrong)));
            }
        }
        faults
    }
}

impl ProvisioningManifest {
    /// What keeps a template from being filled in whatever the variables are.
    fn template_fault(&self, content: &[u8]) -> Option<String> {
        let Ok(text) = std::str::from_utf8(content) else {
            return Some("a template must be UTF-8 text".to_owned());
        };
        let names = self.variables.keys().map(String::as_str).chain(FACTS);
        let values = names.map(|name| (name.to_owned(), String::new())).collect();
        fill(text, &values).err().map(|error| error.to_string())
    }
}

/// What templates and scripts know besides their module's variables.
pub const FACTS: [&str; 4] =
    ["RAPTOR_CLUSTER", "RAPTOR_INTERFACE", "RAPTOR_MESH_PORT", "RAPTOR_SERVER_TYPE"];

fn named(path: Path, script: Option<&Script>) -> Option<(Path, &str)> {
    match script? {
        Script::File(name) => Some((path, name.as_str())),
        Script::Inline(_) => None,
    }
}

fn package_faults(step: &ModuleStep, path: &Path) -> Vec<(Path, String)> {
    let mut faults = Vec::new();
    for (manager, names) in &step.packages {
        let path = path.join(manager);
        if !PACKAGE_MANAGERS.contains(&manager.as_str()) {
            let known = PACKAGE_MANAGERS.join(", ");
            faults.push((path, format!("no package manager that raptor knows ({known})")));
        } else if let Some(name) = names.iter().find(|name| !is_package_name(name)) {
            faults.push((path, format!("{name:?} is no name of a package")));
        }
    }
    faults
}

/// Reads the manifest among `files` and checks it against them.
pub(super) fn open<M: Manifest>(
    folder: &str,
    source: impl Fn(&str) -> Source,
    files: Files,
) -> Result<Module<M>, ConfigError> {
    let (name, content) = [TOML, JSON]
        .into_iter()
        .find_map(|name| files.get(name).map(|content| (name, content)))
        .ok_or_else(|| missing(&source(TOML)))?;
    let source = source(name);
    let text = String::from_utf8_lossy(content).into_owned();
    let manifest: M = parse(&text, name == TOML, &source)?;
    let json = (name == JSON).then_some(text.as_str());
    let problems = check(&manifest, folder, &files, &source, json);
    if problems.is_empty() {
        Ok(Module { manifest, source, files })
    } else {
        Err(ConfigError::Invalid(problems))
    }
}

/// What a manifest among `files` says it is: its name and kind. None without a manifest.
///
/// # Errors
/// It cannot be read, or its kind is none.
pub(super) fn identify(
    files: &Files,
    source: impl Fn(&str) -> Source,
) -> Result<Option<(String, &'static str)>, ConfigError> {
    #[derive(Deserialize)]
    struct Head {
        kind: String,
        name: String,
    }
    let found = [TOML, JSON].into_iter().find_map(|name| Some((name, files.get(name)?)));
    let Some((name, content)) = found else { return Ok(None) };
    let (source, text) = (source(name), String::from_utf8_lossy(content));
    let head: Head = parse(&text, name == TOML, &source)?;
    let kinds = [ProvisioningManifest::KIND, ComputeTypeManifest::KIND];
    let Some(kind) = kinds.into_iter().find(|kind| *kind == head.kind) else {
        let root = Path::root();
        let place = Place { source: &source, text: None, path: &root };
        let what = format!("expected {}, found {:?}", kinds.join(" or "), head.kind);
        return Err(ConfigError::one(place.problem(&root.join("kind"), what)));
    };
    Ok(Some((head.name, kind)))
}

fn missing(source: &Source) -> ConfigError {
    let root = Path::root();
    let place = Place { source, text: None, path: &root };
    ConfigError::one(
        place.problem(&root, "the module has no manifest (module.toml or module.json)"),
    )
}

/// Reads manifest text.
pub(super) fn parse<M: DeserializeOwned>(
    text: &str,
    is_toml: bool,
    source: &Source,
) -> Result<M, ConfigError> {
    if is_toml {
        return parse_toml(text, source);
    }
    let mut value = load::parse(text, source)?;
    let root = Path::root();
    let place = Place { source, text: Some(text), path: &root };
    match read(&mut value, place) {
        (Some(manifest), problems) if problems.is_empty() => Ok(manifest),
        (_, problems) => Err(ConfigError::Invalid(problems)),
    }
}

fn parse_toml<M: DeserializeOwned>(text: &str, source: &Source) -> Result<M, ConfigError> {
    let wrong = |error: &toml::de::Error, path: Path| {
        let unknown = UnknownKey::parse(error.message());
        let path = unknown.as_ref().map_or(path.clone(), |unknown| unknown.complete(path));
        let problem = Problem {
            source: source.clone(),
            position: error.span().map(|span| Position::of_byte(text, span.start)),
            path,
            what: String::new(),
            nearest: None,
            known: Vec::new(),
        };
        ConfigError::one(explain(problem, error.message(), unknown))
    };
    let deserializer =
        toml::Deserializer::parse(text).map_err(|error| wrong(&error, Path::root()))?;
    serde_path_to_error::deserialize(deserializer)
        .map_err(|error| wrong(error.inner(), to_path(error.path())))
}

fn check<M: Manifest>(
    manifest: &M,
    folder: &str,
    files: &Files,
    source: &Source,
    text: Option<&str>,
) -> Vec<Problem> {
    let root = Path::root();
    let place = Place { source, text, path: &root };
    let mut problems = Vec::new();
    if manifest.kind() != M::KIND {
        let what = format!("expected {:?} in this folder, found {:?}", M::KIND, manifest.kind());
        problems.push(place.problem(&root.join("kind"), what));
    }
    if manifest.name() != folder {
        let what = format!("expected {folder:?} as its folder, found {:?}", manifest.name());
        problems.push(place.problem(&root.join("name"), what));
    }
    let sound = (1..=NAME_LENGTH_MAX).contains(&folder.len())
        && folder.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !sound {
        let what = "expected 1 to 63 letters, digits, '-', '_' and '.'";
        problems.push(place.problem(&root.join("name"), what));
    }
    for (path, name) in manifest.named_files() {
        if !files.contains_key(name) {
            let what = format!(
                "the module has no file {name:?}; for a command write {{ inline = \"...\" }}"
            );
            let nearest = nearest(name, files.keys().map(String::as_str));
            problems.push(Problem { nearest, ..place.problem(&path, what) });
        }
    }
    for (path, what) in manifest.faults(files) {
        problems.push(place.problem(&path, what));
    }
    problems
}
