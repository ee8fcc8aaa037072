//! What a server type's modules say, as provisioning takes it.

use std::collections::BTreeMap;
use std::time::Duration;

/// A provisioning module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModuleInput {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Succeeds where all of it stands: then a module that did not change is done.
    pub check: Option<String>,
    /// Whether a new connection must succeed after a step of it was done.
    pub reconnect: bool,
    /// What its scripts find in their environment: sound names, texts without NUL.
    pub variables: Vec<(String, String)>,
    /// Its steps, in order.
    pub steps: Vec<StepSpec>,
    /// Further files its scripts find in `$RAPTOR_MODULE`: relative path and bytes.
    pub files: Vec<(String, Vec<u8>)>,
}

/// One step of a module: packages, then files, then `apply`. Scripts are POSIX shell, run with
/// `sh -eu` as root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepSpec {
    /// Its name.
    pub name: String,
    /// Succeeds when the machine already is as it should be.
    pub check: Option<String>,
    /// Packages that must be there, by package manager.
    pub packages: BTreeMap<String, Vec<String>>,
    /// Files that must be there.
    pub files: Vec<FileSpec>,
    /// Makes it so.
    pub apply: Option<String>,
    /// Takes it back, when the run that applied it fails later.
    pub undo: Option<String>,
    /// How long either may take.
    pub timeout: Duration,
    /// On which machines: any of an os-release `ID` or `ID_LIKE`, an init system, a package manager
    /// or an architecture. Empty means all.
    pub when: Vec<String>,
}

/// A file that goes to a place on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Its path in the module's folder.
    pub source: String,
    /// Its absolute path on the machine.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// `USER` or `USER:GROUP`.
    pub owner: Option<String>,
}
