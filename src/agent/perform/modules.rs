//! What goes onto machines: the modules of a server type, and raptor's own program.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::agent::BUILD;
use crate::agent::error::chain;
use crate::agent::perform::job::Failure;
use crate::agent::perform::settings::Performer;
use crate::config::module::ProvisioningModule;
use crate::config::module::order::ordered;
use crate::config::module::step::ModuleStep;
use crate::config::module::step::PlacedFile;
use crate::config::module::step::Script;
use crate::config::module::template::fill;
use crate::provision::input::FileSpec;
use crate::provision::input::ModuleInput;
use crate::provision::input::StepSpec;
use crate::provision::order::Program;

const STEP: &str = "read the server type";

/// Filled templates stand here in a module's folder on the machine.
const FILLED: &str = ".filled/";

impl Performer {
    /// The modules of a server type with all that they require, in order.
    ///
    /// # Errors
    /// When the server type or one of its modules is not there, modules require each other, or a
    /// variable has no value that fits.
    pub fn module_inputs(&self, server_type: &str) -> Result<Vec<ModuleInput>, Failure> {
        let types = &self.config().server_types;
        let entry = types.get(server_type).ok_or_else(|| {
            let known: Vec<&str> = types.keys().map(String::as_str).collect();
            Failure::at(STEP, format!("there is no server type {server_type:?}"))
                .with_hint(format!("known are {}", known.join(", ")))
        })?;
        let modules = ordered(self.modules(), &entry.modules)
            .map_err(|error| Failure::at(STEP, error.to_string()))?;
        modules.into_iter().map(|module| self.input(module, server_type)).collect()
    }

    fn input(
        &self,
        module: &ProvisioningModule,
        server_type: &str,
    ) -> Result<ModuleInput, Failure> {
        let manifest = &module.manifest;
        let limit = Duration::from_millis(self.config().provision.step_timeout_ms);
        let values = self.values(module, server_type)?;
        let steps = manifest.steps.iter().map(|step| step_spec(module, step, limit));
        let steps: Vec<StepSpec> = steps.collect::<Result<_, Failure>>()?;
        let mut files: Vec<(String, Vec<u8>)> = module
            .file_names()
            .filter_map(|name| Some((name.to_owned(), module.file(name)?.to_vec())))
            .collect();
        let placed = manifest.steps.iter().flat_map(|step| &step.files);
        for file in placed.filter(|file| file.template) {
            let text = script_text(module, &Script::File(file.source.clone()))?;
            let filled = fill(&text, &values).map_err(|error| {
                Failure::at(STEP, format!("{}/{}: {error}", manifest.name, file.source))
            })?;
            let name = format!("{FILLED}{}", file.source);
            files.retain(|(known, _)| *known != name);
            files.push((name, filled.into_bytes()));
        }
        Ok(ModuleInput {
            name: manifest.name.clone(),
            version: manifest.version.clone().unwrap_or_else(|| "0".to_owned()),
            check: manifest.check.as_ref().map(|script| script_text(module, script)).transpose()?,
            reconnect: manifest.reconnect,
            variables: values.into_iter().collect(),
            steps,
            files,
        })
    }

    /// What a module's scripts and templates know.
    fn values(
        &self,
        module: &ProvisioningModule,
        server_type: &str,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let (config, name) = (self.config(), module.manifest.name.as_str());
        let special = config.server_types.get(server_type);
        let special = special.and_then(|entry| entry.variables.get(name));
        let general = config.provision.variables.get(name);
        let mut values = BTreeMap::new();
        for (variable, declared) in &module.manifest.variables {
            let given = [special, general].into_iter().flatten();
            let given = given.filter_map(|map| map.get(variable)).find(|value| !value.is_null());
            let text = declared.text(given).map_err(|fault| {
                Failure::at(STEP, format!("the variable {variable} of module {name}: {fault}"))
                    .with_hint(format!("raptor config set provision.variables.{name}.{variable}"))
            })?;
            values.insert(variable.clone(), text);
        }
        // The names are those of `config::module::manifest::FACTS`.
        let mut fact = |name: &str, value: String| values.insert(name.to_owned(), value);
        fact("RAPTOR_CLUSTER", self.cluster().to_string());
        fact("RAPTOR_INTERFACE", config.mesh.interface.name.clone());
        fact("RAPTOR_MESH_PORT", config.mesh.listen.port().to_string());
        fact("RAPTOR_SERVER_TYPE", server_type.to_owned());
        Ok(values)
    }

    /// raptor's program with its checksum, computed once.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn program(&self) -> Result<Program, Failure> {
        let path = self.settings().binary.clone();
        let failed =
            |error: std::io::Error| Failure::at("read raptor's own program", chain(&error));
        let sha256 = if let Some(known) = self.program_sha256().get() {
            known.clone()
        } else {
            let digest = Sha256::digest(std::fs::read(&path).map_err(failed)?);
            let computed = data_encoding::HEXLOWER.encode(&digest);
            self.program_sha256().get_or_init(|| computed).clone()
        };
        Ok(Program { path, sha256, version: BUILD.to_owned() })
    }
}

fn step_spec(
    module: &ProvisioningModule,
    step: &ModuleStep,
    limit: Duration,
) -> Result<StepSpec, Failure> {
    let text = |script: &Option<Script>| {
        script.as_ref().map(|script| script_text(module, script)).transpose()
    };
    Ok(StepSpec {
        name: step.name.clone(),
        check: text(&step.check)?,
        packages: step.packages.clone(),
        files: step.files.iter().map(placed).collect(),
        apply: text(&step.apply)?,
        undo: text(&step.undo)?,
        timeout: step.timeout_s.map_or(limit, Duration::from_secs),
        when: step.when.clone(),
    })
}

fn placed(file: &PlacedFile) -> FileSpec {
    let folder = if file.template { FILLED } else { "" };
    FileSpec {
        source: format!("{folder}{}", file.source),
        path: file.path.clone(),
        // A manifest with another mode is refused when it is read.
        mode: file.mode_bits().unwrap_or(0o600),
        owner: file.owner.clone(),
    }
}

fn script_text(module: &ProvisioningModule, script: &Script) -> Result<String, Failure> {
    match script {
        Script::Inline(text) => Ok(text.clone()),
        Script::File(name) => module
            .file(name)
            .and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
            .ok_or_else(|| {
                let module = &module.manifest.name;
                Failure::at(STEP, format!("{module}/{name} is no readable text"))
            }),
    }
}
