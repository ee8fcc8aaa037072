//! A server type's modules as the steps of one machine. Pure.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::provision::input::{ModuleInput, StepSpec};
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
#[must_use]
pub fn steps(modules: &[ModuleInput], probe: &Probe) -> Vec<Step> {
    let words = probe.words();
    let mut steps = Vec::new();
    for module in modules {
        for spec in &module.steps {
            let wanted =
                spec.when.is_empty() || spec.when.iter().any(|word| words.contains(&word.as_str()));
            if wanted {
                steps.push(Step {
                    module: module.name.clone(),
                    name: spec.name.clone(),
                    check: spec.check.clone(),
                    apply: spec.apply.clone(),
                    undo: spec.undo.clone(),
                    timeout: spec.timeout,
                    stamp: stamp(module, spec),
                });
            }
        }
    }
    steps
}

/// A hash over all that decides what the step does; every part is preceded by its length, so that
/// no two different steps give the same bytes.
fn stamp(module: &ModuleInput, spec: &StepSpec) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(b"raptor/1 step");
    add(module.name.as_bytes());
    add(spec.name.as_bytes());
    add(spec.check.as_deref().unwrap_or_default().as_bytes());
    add(spec.apply.as_bytes());
    for (path, bytes) in &module.files {
        add(path.as_bytes());
        add(bytes);
    }
    data_encoding::HEXLOWER.encode(&hash.finalize())
}
