//! A server type's modules as the steps of one machine. Pure.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::provision::compose;
use crate::provision::input::ModuleInput;
use crate::provision::probe::Probe;

/// One step to be done on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its module.
    pub module: String,
    /// Its name.
    pub name: String,
    /// Succeeds when there is nothing to do.
    pub check: Option<String>,
    /// Does it.
    pub apply: String,
    /// Takes it back.
    pub undo: Option<String>,
    /// How long either may take.
    pub timeout: Duration,
    /// Changes when the step or its module's files change.
    pub stamp: String,
}

impl Step {
    /// `module/name`, as messages and stamps have it.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}/{}", self.module, self.name)
    }
}

/// The steps of `modules` that are for this machine, in order.
///
/// # Errors
/// [`StepsError`] when a step names packages, and none for this machine's package manager.
pub fn steps(modules: &[ModuleInput], probe: &Probe) -> Result<Vec<Step>, StepsError> {
    let words = probe.words();
    let manager = probe.package_manager.as_deref().unwrap_or_default();
    let mut steps = Vec::new();
    for module in modules {
        for spec in &module.steps {
            if !spec.when.is_empty() && !spec.when.iter().any(|it| words.contains(&it.as_str())) {
                continue;
            }
            if !spec.packages.is_empty() && !spec.packages.contains_key(manager) {
                return Err(StepsError::NoPackages {
                    step: format!("{}/{}", module.name, spec.name),
                    system: probe.os_name.clone(),
                    known: spec.packages.keys().cloned().collect(),
                });
            }
            let mut step = Step {
                module: module.name.clone(),
                name: spec.name.clone(),
                check: compose::check(module, spec, manager),
                apply: compose::apply(module, spec, manager),
                undo: compose::undo(module, spec),
                timeout: spec.timeout,
                stamp: String::new(),
            };
            step.stamp = stamp(module, &step);
            steps.push(step);
        }
    }
    Ok(steps)
}

/// A module is not made for a machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepsError {
    /// No packages are named for its package manager.
    #[error("{step} names no packages for {system}, only for {}", known.join(", "))]
    NoPackages {
        /// `module/step`.
        step: String,
        /// What the machine calls its system.
        system: String,
        /// The package managers that packages are named for.
        known: Vec<String>,
    },
}

/// A hash over all steps of a module, as this machine does them.
#[must_use]
pub fn module_stamp(module: &ModuleInput, steps: &[Step]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"raptor/1 module");
    for part in steps.iter().filter(|step| step.module == module.name).map(|step| &step.stamp) {
        hash.update(part);
    }
    hash.update(module.check.as_deref().unwrap_or_default());
    data_encoding::HEXLOWER.encode(&hash.finalize())
}

/// A hash over all that decides what the step does; every part is preceded by its length, so that
/// no two different steps give the same bytes.
fn stamp(module: &ModuleInput, step: &Step) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(b"raptor/1 step");
    add(module.name.as_bytes());
    add(step.name.as_bytes());
    add(step.check.as_deref().unwrap_or_default().as_bytes());
    add(step.apply.as_bytes());
    for (path, bytes) in &module.files {
        add(path.as_bytes());
        add(bytes);
    }
    data_encoding::HEXLOWER.encode(&hash.finalize())
}
