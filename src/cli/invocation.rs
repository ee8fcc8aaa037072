//! The global options, resolved: what every command starts from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::cli::arguments::GlobalArguments;
use crate::cli::endpoint::Endpoint;
use crate::cli::error::CliError;
use crate::cli::output::Format;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::tell;
use crate::cli::terminal::password;
use crate::model::name::Name;
use crate::ssh::sudo::SudoPassword;

/// What every command starts from.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Where state lives.
    pub home: PathBuf,
    /// The cluster that was named; none leaves it to the contexts.
    pub cluster: Option<Name>,
    /// The one agent to talk to.
    pub connect: Option<Endpoint>,
    /// A configuration file instead of the home's.
    pub config_file: Option<PathBuf>,
    /// How answers are printed.
    pub format: Format,
    /// How often `-v` was given.
    pub verbosity: u8,
    /// Only answers and errors.
    pub quiet: bool,
    /// Questions are answered with yes.
    pub yes: bool,
    /// Plans are printed, and not performed.
    pub dry_run: bool,
    /// What `sudo` on a machine is told when it asks.
    pub sudo_password: Option<SudoPassword>,
    /// The document of a cluster that is about to be founded again.
    pub assumed_document: Option<Arc<Value>>,
}

impl Invocation {
    /// Resolves options against the environment.
    ///
    /// # Errors
    /// No home folder was named and none follows from the environment.
    pub fn new(global: GlobalArguments) -> Result<Self, CliError> {
        let format = global.format();
        let home = match global.home {
            Some(home) => {
                std::path::absolute(&home).map_err(|error| CliError::file("find", &home, &error))?
            }
            None => default_home(rustix::process::geteuid().is_root(), |key| {
                std::env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from)
            })
            .ok_or_else(|| {
                CliError::user("no home folder: neither XDG_STATE_HOME nor HOME is set")
                    .with_hint("name one with --home DIR")
            })?,
        };
        Ok(Self {
            home,
            cluster: global.cluster,
            connect: global.connect,
            config_file: global.config,
            format,
            verbosity: global.verbose,
            quiet: global.quiet,
            yes: global.yes,
            dry_run: global.dry_run,
            sudo_password: None,
            assumed_document: None,
        })
    }

    /// Has the user type what `sudo` on a machine is told when it asks.
    ///
    /// # Errors
    /// Nothing was entered, or what no password is.
    pub fn ask_sudo_password(&mut self) -> Result<(), CliError> {
        let password = SudoPassword::new(password::ask("sudo password: ")?);
        self.sudo_password = Some(password.map_err(CliError::usage)?);
        Ok(())
    }

    /// The socket of this home's agent.
    #[must_use]
    pub fn agent_socket(&self) -> PathBuf {
        self.agent_folder().join("agent.sock")
    }

    /// What this home's agent keeps.
    #[must_use]
    pub fn agent_folder(&self) -> PathBuf {
        self.home.join("agent")
    }

    /// Host keys that raptor has accepted.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.home.join("known_hosts")
    }

    /// The user's own layer of configuration.
    #[must_use]
    pub fn mutable_config(&self) -> PathBuf {
        self.config_file.clone().unwrap_or_else(|| self.home.join("mutable_config.json"))
    }

    /// Tells a detail, for those who asked with `-v`.
    pub fn detail(&self, text: &str) {
        if self.verbosity > 0 {
            tell(text);
        }
    }

    /// Prints what `--dry-run` shows: `text` for people, `value` for programs.
    ///
    /// # Errors
    /// Standard output is gone.
    pub fn print_plan(&self, text: &str, value: &impl Serialize) -> Result<(), CliError> {
        if self.format.is_json() { print_json(value) } else { print(text) }
    }

    /// Tells what was done, unless `-q`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            tell(text);
        }
    }
}

/// Where state lives when no option says: the XDG base directory specification's state folder, and
/// for root the folder that the agent of a whole machine uses.
fn default_home(root: bool, variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    if let Some(state) = variable("XDG_STATE_HOME").filter(absolute) {
        return Some(state.join("raptor"));
    }
    if root {
        return Some(Path::new("/var/lib/raptor").to_owned());
    }
    variable("HOME").filter(absolute).map(|home| home.join(".local/state/raptor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_follows_the_environment() {
        let nothing = |_: &str| None;
        let home = |key: &str| (key == "HOME").then(|| PathBuf::from("/home/ann"));
        let state = |key: &str| (key == "XDG_STATE_HOME").then(|| PathBuf::from("/s"));
        let relative = |_: &str| Some(PathBuf::from("here"));
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(default_home(false, home), path("/home/ann/.local/state/raptor"));
        assert_eq!(default_home(true, home), path("/var/lib/raptor"));
        assert_eq!(default_home(true, state), path("/s/raptor"));
        assert_eq!(default_home(false, nothing), None);
        assert_eq!(default_home(false, relative), None);
    }
}
