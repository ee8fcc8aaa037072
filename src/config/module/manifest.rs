//! Manifests: `module.toml` or `module.json`, one in each module's folder.

use std::collections::BTreeMap;

use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::config::error::{ConfigError, Problem, Source, nearest};
use crate::config::load;
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
    /// Variables of the environment in which its scripts run.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// What is done, in this order.
    #[serde(default)]
    pub steps: Vec<ModuleStep>,
    /// Files of the module that its scripts need beside them.
    #[serde(default)]
    pub files: Vec<String>,
}

/// One step: done where its check fails, so that doing it again does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleStep {
    /// A few words for the progress line.
    pub name: String,
    /// Exits with 0 where there is nothing to do. Without one the step is always done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Script>,
    /// Does it.
    pub apply: Script,
    /// Takes it back, when the run that applied it fails later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Script>,
    /// Seconds until it is given up; the configuration's `provision.step_timeout_ms` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// On which machines it is done: any `ID` or `ID_LIKE` of an `/etc/os-release`, an init system,
    /// a package manager or an architecture. On all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<String>,
}

/// A shell script: the name of a file of the module, or `{ inline = "..." }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Script {
    /// The text itself.
    Inline(String),
    /// A file of the module.
    #[serde(untagged)]
    File(String),
}

impl<'de> Deserialize<'de> for Script {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScriptVisitor)
    }
}

struct ScriptVisitor;

impl<'de> Visitor<'de> for ScriptVisitor {
    type Value = Script;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the name of a file, or { inline = \"...\" }")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Script, E> {
        Ok(Script::File(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Script, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            inline: String,
        }
        let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Script::Inline(table.inline))
    }
}

/// What both kinds of manifest have.
pub(super) trait Manifest: DeserializeOwned {
    /// The word that `kind` must hold.
    const KIND: &'static str;
    fn kind(&self) -> &str;
    fn name(&self) -> &str;
    /// Files that must be there, each with the path of the key that names it.
    fn named_files(&self) -> Vec<(Path, &str)>;
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
        let scripts = self.steps.iter().enumerate().flat_map(|(index, step)| {
            let path = Path::root().join("steps").join(index.to_string());
            let check = step.check.as_ref().map(|script| (path.join("check"), script));
            check.into_iter().chain([(path.join("apply"), &step.apply)])
        });
        let scripts = scripts.filter_map(|(path, script)| match script {
            Script::File(name) => Some((path, name.as_str())),
            Script::Inline(_) => None,
        });
        files.chain(scripts).collect()
    }
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
    problems
}
