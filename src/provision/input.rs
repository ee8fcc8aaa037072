//! What a server type's modules say, as provisioning takes it.

use std::time::Duration;

/// A provisioning module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModuleInput {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its steps, in order.
    pub steps: Vec<StepSpec>,
    /// Further files its scripts find in `$RAPTOR_MODULE`: relative path and bytes.
    pub files: Vec<(String, Vec<u8>)>,
}

/// One step of a module. Scripts are POSIX shell, run with `sh -eu` as root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepSpec {
    /// Its name.
    pub name: String,
    /// Succeeds when the machine already is as it should be.
    pub check: Option<String>,
    /// Makes it so.
    pub apply: String,
    /// Takes it back, when the run that applied it fails later.
    pub undo: Option<String>,
    /// How long either may take.
    pub timeout: Duration,
    /// On which machines: any of an os-release `ID` or `ID_LIKE`, an init system, a package manager
    /// or an architecture. Empty means all.
    pub when: Vec<String>,
}
