//! Shell text of steps: what packages and files mean, before a step's own scripts. Pure.

use std::fmt::Write as _;

use crate::provision::input::{FileSpec, ModuleInput, StepSpec};
use crate::ssh::quote::{quote, quote_all};

/// What scripts of modules may call.
pub const TOOLS: &str = include_str!("tools.sh");

/// What every script of a module starts with: its variables, in its environment.
fn environment(module: &ModuleInput) -> String {
    let mut text = String::new();
    for (name, value) in &module.variables {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "export {name}={}", quote(value));
    }
    text
}

/// A script of the module, as it is run.
#[must_use]
pub fn script(module: &ModuleInput, text: &str) -> String {
    environment(module) + text
}

/// What tells whether a step is done; none when nothing can.
#[must_use]
pub fn check(module: &ModuleInput, step: &StepSpec, manager: &str) -> Option<String> {
    let packages = step.packages.get(manager).filter(|packages| !packages.is_empty());
    if step.check.is_none() && packages.is_none() && step.files.is_empty() {
        return None;
    }
    let mut text = ". \"$RAPTOR_TOOLS\"\n".to_owned();
    if let Some(packages) = packages {
        let packages = quote_all(packages);
        let _written = writeln!(text, "packages_there {} {packages} || exit 1", quote(manager));
    }
    for file in &step.files {
        let _written = writeln!(text, "file_there {} || exit 1", arguments(file));
    }
    text.push_str(step.check.as_deref().unwrap_or_default());
    Some(script(module, &text))
}

/// What does a step.
#[must_use]
pub fn apply(module: &ModuleInput, step: &StepSpec, manager: &str) -> String {
    let mut text = ". \"$RAPTOR_TOOLS\"\n".to_owned();
    if let Some(packages) = step.packages.get(manager).filter(|packages| !packages.is_empty()) {
        let (manager, packages) = (quote(manager), quote_all(packages));
        let _written = writeln!(
            text,
            "packages_there {manager} {packages} || packages_add {manager} {packages}"
        );
    }
    for file in &step.files {
        let _written = writeln!(text, "file_put {}", arguments(file));
    }
    text.push_str(step.apply.as_deref().unwrap_or_default());
    script(module, &text)
}

/// What takes a step back; none when nothing does.
#[must_use]
pub fn undo(module: &ModuleInput, step: &StepSpec) -> Option<String> {
    if step.undo.is_none() && step.files.is_empty() {
        return None;
    }
    let mut text = ". \"$RAPTOR_TOOLS\"\n".to_owned();
    for file in step.files.iter().rev() {
        let _written = writeln!(text, "file_back {}", quote(&file.path));
    }
    text.push_str(step.undo.as_deref().unwrap_or_default());
    Some(script(module, &text))
}

fn arguments(file: &FileSpec) -> String {
    let mode = format!("{:o}", file.mode);
    let owner = file.owner.as_deref().unwrap_or_default();
    quote_all(&[file.source.as_str(), file.path.as_str(), mode.as_str(), owner])
}
