//! Modules: folders of a manifest and files. Some are inside this program; a folder of the same
//! name in the home replaces one as a whole.

pub mod carried;
pub mod manifest;
pub mod order;
pub mod step;
pub mod template;
pub mod variable;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path as FilePath;

use include_dir::{Dir, DirEntry, include_dir};
use serde_json::{Map, Value};
use walkdir::WalkDir;

use crate::config::error::{ConfigError, Source};
use crate::config::files::{FileError, read_bounded};
use crate::config::home::Home;
use crate::config::layers::{Layer, LayerName, merge};
use crate::config::module::carried::CarriedModule;
use crate::config::module::manifest::{ComputeTypeManifest, Manifest, ProvisioningManifest};
use crate::config::module::variable::Variable;

static BUNDLED_COMPUTE_TYPES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/compute_types");
static BUNDLED_PROVISIONING: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/provisioning");

/// Largest file of a module, in bytes.
const FILE_SIZE_MAX: u64 = 64 * 1024 * 1024;

/// Most files of one module.
const FILE_COUNT_MAX: usize = 10_000;

/// The files of a module by their path inside it.
pub type Files = BTreeMap<String, Cow<'static, [u8]>>;

/// A module: what its manifest says, and its files.
#[derive(Debug, Clone)]
pub struct Module<M> {
    /// The manifest.
    pub manifest: M,
    /// Where it came from.
    pub source: Source,
    files: Files,
}

/// A way to get a machine.
pub type ComputeTypeModule = Module<ComputeTypeManifest>;

/// Something that is done to a machine.
pub type ProvisioningModule = Module<ProvisioningManifest>;

/// The variables of provisioning modules, by module.
pub type ModuleVariables = BTreeMap<String, BTreeMap<String, Variable>>;

impl<M> Module<M> {
    /// A file's content.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(AsRef::as_ref)
    }

    /// The names of all files, the manifest's too.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }
}

/// All modules, the installed ones in the place of bundled ones of the same name.
#[derive(Debug, Clone, Default)]
pub struct Modules {
    compute_types: BTreeMap<String, ComputeTypeModule>,
    provisioning: BTreeMap<String, ProvisioningModule>,
}

impl Modules {
    /// Reads the modules of this program and those in `home`.
    ///
    /// # Errors
    /// [`ConfigError`] for a folder that cannot be read or a wrong manifest.
    pub fn load(home: &Home) -> Result<Self, ConfigError> {
        let folder = home.modules_folder();
        Ok(Self {
            compute_types: load_kind(&BUNDLED_COMPUTE_TYPES, &folder.join("compute_types"))?,
            provisioning: load_kind(&BUNDLED_PROVISIONING, &folder.join("provisioning"))?,
        })
    }

    /// Adds a module that the configuration carries, in the place of one of the same name.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn carry(&mut self, name: &str, carried: &CarriedModule) -> Result<(), String> {
        let files = carried.unpack().map_err(|error| error.to_string())?;
        let source = |_: &str| Source::Document;
        match carried.kind.as_str() {
            ProvisioningManifest::KIND => {
                let module = manifest::open(name, source, files);
                let module = module.map_err(|error| error.to_string())?;
                self.provisioning.insert(name.to_owned(), module);
            }
            ComputeTypeManifest::KIND => {
                let module = manifest::open(name, source, files);
                let module = module.map_err(|error| error.to_string())?;
                self.compute_types.insert(name.to_owned(), module);
            }
            other => return Err(format!("no kind of module: {other:?}")),
        }
        Ok(())
    }

    /// A provisioning module.
    #[must_use]
    pub fn provisioning(&self, name: &str) -> Option<&ProvisioningModule> {
        self.provisioning.get(name)
    }

    /// A compute type's module.
    #[must_use]
    pub fn compute_type(&self, name: &str) -> Option<&ComputeTypeModule> {
        self.compute_types.get(name)
    }

    /// The names of all provisioning modules.
    #[must_use]
    pub fn provisioning_names(&self) -> BTreeSet<String> {
        self.provisioning.keys().cloned().collect()
    }

    /// The variables of all provisioning modules, by module.
    #[must_use]
    pub fn variables(&self) -> ModuleVariables {
        let modules = self.provisioning.values().map(|module| &module.manifest);
        modules.map(|manifest| (manifest.name.clone(), manifest.variables.clone())).collect()
    }

    /// What the modules inside this program set.
    #[must_use]
    pub fn bundled_layer(&self) -> Value {
        self.merged(LayerName::Bundled)
    }

    /// What the modules in the home folder set.
    #[must_use]
    pub fn installed_layer(&self) -> Value {
        self.merged(LayerName::Installed)
    }

    /// One layer a module, the bundled ones first, each with its module as its source.
    #[must_use]
    pub fn layers(&self) -> Vec<Layer> {
        let compute_types = self.compute_types.values().map(|module| {
            let manifest = &module.manifest;
            let mut values = manifest.config.clone();
            values.insert("driver".to_owned(), Value::from(manifest.driver.as_str()));
            values.insert("description".to_owned(), Value::from(manifest.description.as_str()));
            (&module.source, entry("compute_types", &manifest.name, values))
        });
        // Each provisioning module is a server type by itself; others can be put together.
        let server_types = self.provisioning.values().map(|module| {
            let manifest = &module.manifest;
            let mut values = Map::new();
            values.insert("description".to_owned(), Value::from(manifest.description.as_str()));
            values.insert("modules".to_owned(), Value::from(vec![manifest.name.as_str()]));
            (&module.source, entry("server_types", &manifest.name, values))
        });
        let mut layers: Vec<Layer> = compute_types
            .chain(server_types)
            .map(|(source, value)| Layer {
                name: match source {
                    Source::Bundled(_) => LayerName::Bundled,
                    _ => LayerName::Installed,
                },
                source: source.clone(),
                text: None,
                value,
            })
            .collect();
        layers.sort_by_key(|layer| layer.name);
        layers
    }

    fn merged(&self, name: LayerName) -> Value {
        let mut merged = Value::Object(Map::new());
        for layer in self.layers().into_iter().filter(|layer| layer.name == name) {
            merge(&mut merged, &layer.value);
        }
        merged
    }
}

/// The modules in a folder: itself, or what lies below its `provisioning` and `compute_types`. Each
/// with its name, its kind and its files.
///
/// # Errors
/// A folder cannot be read, or a manifest is wrong.
pub fn found_in(folder: &FilePath) -> Result<Vec<(String, &'static str, Files)>, ConfigError> {
    let files = collect_installed(folder)?;
    if let Some(found) = manifest::identify(&files, |name| Source::File(folder.join(name)))? {
        return Ok(vec![(found.0, found.1, files)]);
    }
    let mut found = Vec::new();
    for (kind, below) in
        [(ProvisioningManifest::KIND, "provisioning"), (ComputeTypeManifest::KIND, "compute_types")]
    {
        let below = folder.join(below);
        for name in folder_names(&below)? {
            found.push((name.clone(), kind, collect_installed(&below.join(&name))?));
        }
    }
    Ok(found)
}

fn entry(section: &str, name: &str, values: Map<String, Value>) -> Value {
    let named = Map::from_iter([(name.to_owned(), Value::Object(values))]);
    Value::Object(Map::from_iter([(section.to_owned(), Value::Object(named))]))
}

fn load_kind<M: Manifest>(
    bundled: &'static Dir<'static>,
    installed: &FilePath,
) -> Result<BTreeMap<String, Module<M>>, ConfigError> {
    let mut modules = BTreeMap::new();
    for folder in bundled.dirs() {
        let name = folder.path().to_string_lossy().into_owned();
        let mut files = Files::new();
        collect_bundled(folder, folder.path(), &mut files);
        let source = Source::Bundled(name.clone());
        let module = manifest::open(&name, |_| source.clone(), files)?;
        modules.insert(name, module);
    }
    for name in folder_names(installed)? {
        let folder = installed.join(&name);
        let files = collect_installed(&folder)?;
        let module = manifest::open(&name, |file| Source::File(folder.join(file)), files)?;
        modules.insert(name, module);
    }
    Ok(modules)
}

fn collect_bundled(folder: &'static Dir<'static>, root: &FilePath, files: &mut Files) {
    for entry in folder.entries() {
        match entry {
            DirEntry::Dir(inner) => collect_bundled(inner, root, files),
            DirEntry::File(file) => {
                let path = file.path().strip_prefix(root).unwrap_or(file.path());
                files.insert(path.to_string_lossy().into_owned(), Cow::Borrowed(file.contents()));
            }
        }
    }
}

fn folder_names(folder: &FilePath) -> Result<Vec<String>, FileError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::new("read", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FileError::new("read", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Files of the modules installed in `home`, by their path below `modules/`.
///
/// # Errors
/// A folder or file cannot be read.
pub fn installed_files(home: &Home) -> Result<BTreeMap<String, Vec<u8>>, ConfigError> {
    let mut found = BTreeMap::new();
    for kind in ["compute_types", "provisioning"] {
        let folder = home.modules_folder().join(kind);
        for module in folder_names(&folder)? {
            for (name, content) in collect_installed(&folder.join(&module))? {
                found.insert(format!("{kind}/{module}/{name}"), content.into_owned());
            }
        }
    }
    Ok(found)
}

/// Reads a module's files. Links are not followed, so that a module brings only what is in it.
fn collect_installed(folder: &FilePath) -> Result<Files, FileError> {
    let mut files = Files::new();
    let visible = |entry: &walkdir::DirEntry| {
        entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.')
    };
    for entry in WalkDir::new(folder).max_depth(16).into_iter().filter_entry(visible) {
        let entry = entry.map_err(|error| FileError::new("read", folder)(error.into()))?;
        if !entry.file_type().is_file() {
            continue;
        }
        if files.len() >= FILE_COUNT_MAX {
            let why = format!("more than {FILE_COUNT_MAX} files");
            return Err(FileError::new("read", folder)(io::Error::other(why)));
        }
        let content = read_bounded(entry.path(), FILE_SIZE_MAX)?;
        let name = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        files.insert(name.to_string_lossy().into_owned(), Cow::Owned(content));
    }
    Ok(files)
}
