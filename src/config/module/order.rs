//! The order in which modules run: each after those that it requires. Pure.

use crate::config::error::nearest;
use crate::config::module::{Modules, ProvisioningModule};

/// Modules that cannot be put in order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// One is not there.
    #[error("there is no provisioning module {name:?}{}{}", told(" (required by ", by.as_ref(), ")"), told("; did you mean ", nearest.as_ref(), "?"))]
    Missing {
        /// Its name.
        name: String,
        /// Who requires it.
        by: Option<String>,
        /// A module of a similar name.
        nearest: Option<String>,
    },
    /// They require each other.
    #[error("provisioning modules require each other in a circle: {}", .0.join(" -> "))]
    Circle(Vec<String>),
}

fn told(before: &str, what: Option<&String>, after: &str) -> String {
    what.map(|what| format!("{before}{what}{after}")).unwrap_or_default()
}

/// The modules of `names` and all that they require, each once.
///
/// # Errors
/// [`OrderError`] with the names.
pub fn ordered<'m>(
    modules: &'m Modules,
    names: &[String],
) -> Result<Vec<&'m ProvisioningModule>, OrderError> {
    let mut walk = Walk { modules, path: Vec::new(), done: Vec::new() };
    for name in names {
        walk.visit(name)?;
    }
    Ok(walk.done)
}

struct Walk<'m> {
    modules: &'m Modules,
    /// Whose requirements are being looked at.
    path: Vec<String>,
    done: Vec<&'m ProvisioningModule>,
}

impl Walk<'_> {
    fn visit(&mut self, name: &str) -> Result<(), OrderError> {
        if self.done.iter().any(|module| module.manifest.name == name) {
            return Ok(());
        }
        if let Some(first) = self.path.iter().position(|above| above == name) {
            let mut circle = self.path.split_off(first);
            circle.push(name.to_owned());
            return Err(OrderError::Circle(circle));
        }
        let Some(module) = self.modules.provisioning(name) else {
            let known = self.modules.provisioning_names();
            return Err(OrderError::Missing {
                name: name.to_owned(),
                by: self.path.last().cloned(),
                nearest: nearest(name, known.iter().map(String::as_str)),
            });
        };
        self.path.push(name.to_owned());
        for required in &module.manifest.requires {
            self.visit(required)?;
        }
        self.path.pop();
        self.done.push(module);
        Ok(())
    }
}
