//! What goes onto machines: the modules of a server type, and raptor's own program.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::agent::BUILD;
use crate::agent::error::chain;
use crate::agent::perform::job::Failure;
use crate::agent::perform::settings::Performer;
use crate::config::module::ProvisioningModule;
use crate::config::module::manifest::ModuleStep;
use crate::config::module::manifest::Script;
use crate::provision::input::ModuleInput;
use crate::provision::input::StepSpec;
use crate::provision::order::Program;

impl Performer {
    /// The modules of a server type, in order.
    ///
    /// # Errors
    /// When the server type or one of its modules is not there.
    pub fn module_inputs(&self, server_type: &str) -> Result<Vec<ModuleInput>, Failure> {
        let step = "read the server type";
        let types = &self.config().server_types;
        let names = &types
            .get(server_type)
            .ok_or_else(|| {
                let known: Vec<&str> = types.keys().map(String::as_str).collect();
                Failure::at(step, format!("there is no server type {server_type:?}"))
                    .with_hint(format!("known are {}", known.join(", ")))
            })?
            .modules;
        let limit = Duration::from_millis(self.config().provision.step_timeout_ms);
        names
            .iter()
            .map(|name| {
                let module = self.modules().provisioning(name).ok_or_else(|| {
                    Failure::at(step, format!("there is no provisioning module {name:?}"))
                })?;
                input(module, limit)
            })
            .collect()
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

fn input(module: &ProvisioningModule, limit: Duration) -> Result<ModuleInput, Failure> {
    let manifest = &module.manifest;
    let steps: Result<Vec<StepSpec>, Failure> =
        manifest.steps.iter().map(|step| step_spec(module, step, limit)).collect();
    let files = module
        .file_names()
        .filter_map(|name| Some((name.to_owned(), module.file(name)?.to_vec())))
        .collect();
    let version = manifest.version.clone().unwrap_or_else(|| "0".to_owned());
    Ok(ModuleInput { name: manifest.name.clone(), version, steps: steps?, files })
}

fn step_spec(
    module: &ProvisioningModule,
    step: &ModuleStep,
    limit: Duration,
) -> Result<StepSpec, Failure> {
    let text = |script: &Script| script_text(module, script);
    Ok(StepSpec {
        name: step.name.clone(),
        check: step.check.as_ref().map(text).transpose()?,
        apply: text(&step.apply)?,
        undo: step.undo.as_ref().map(text).transpose()?,
        timeout: step.timeout_s.map_or(limit, Duration::from_secs),
        when: step.when.clone(),
    })
}

fn script_text(module: &ProvisioningModule, script: &Script) -> Result<String, Failure> {
    match script {
        Script::Inline(text) => Ok(text.clone()),
        Script::File(name) => module
            .file(name)
            .and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
            .ok_or_else(|| {
                let module = &module.manifest.name;
                Failure::at(
                    "read the server type",
                    format!("{module}/{name} is no readable script"),
                )
            }),
    }
}
