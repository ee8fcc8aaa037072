//! Where everything lies in a home folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::model::cluster::ClusterId;
use crate::model::machine::IntentId;
use crate::model::name::Name;

/// A home folder: an operator's, or a machine's. Machines of the compute type `local` have homes
/// of their own inside the operator's: `machines/<cluster>/<name>/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The home at `root`; nothing is created.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The home of who names none: `/var/lib/raptor` for root's agent, else
    /// `$XDG_STATE_HOME/raptor` or `~/.local/state/raptor`. None when no home folder is known.
    #[must_use]
    pub fn standard(
        state_home: Option<OsString>,
        user_home: Option<OsString>,
        is_root_agent: bool,
    ) -> Option<Self> {
        if is_root_agent {
            return Some(Self::new("/var/lib/raptor"));
        }
        // The XDG base directory specification ignores relative paths.
        let state =
            state_home.map(PathBuf::from).filter(|path| path.is_absolute()).or_else(|| {
                let home = PathBuf::from(user_home?);
                home.is_absolute().then(|| home.join(".local/state"))
            })?;
        Some(Self::new(state.join("raptor")))
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The user's layer of the configuration.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.root.join("mutable_config.json")
    }

    /// Which members to try for which cluster.
    #[must_use]
    pub fn contexts_file(&self) -> PathBuf {
        self.root.join("contexts.json")
    }

    /// SSH host keys that were accepted.
    #[must_use]
    pub fn known_hosts_file(&self) -> PathBuf {
        self.root.join("known_hosts")
    }

    /// Installed modules.
    #[must_use]
    pub fn modules_folder(&self) -> PathBuf {
        self.root.join("modules")
    }

    /// Files that the members keep for each other.
    #[must_use]
    pub fn artefacts_folder(&self) -> PathBuf {
        self.root.join("artefacts")
    }

    /// Plug-ins that make machines (`raptor-provider-NAME`).
    #[must_use]
    pub fn providers_folder(&self) -> PathBuf {
        self.root.join("providers")
    }

    /// Homes of all `local` machines.
    #[must_use]
    pub fn machines_folder(&self) -> PathBuf {
        self.root.join("machines")
    }

    /// The home of one `local` machine.
    #[must_use]
    pub fn machine(&self, cluster: &Name, name: &Name) -> Self {
        Self::new(self.machines_folder().join(cluster.as_str()).join(name.as_str()))
    }

    /// What the agent keeps.
    #[must_use]
    pub fn agent_folder(&self) -> PathBuf {
        self.root.join("agent")
    }

    /// The machine's secret key.
    #[must_use]
    pub fn identity_file(&self) -> PathBuf {
        self.agent_folder().join("identity.key")
    }

    /// What the machine knows of itself between two runs of its agent.
    #[must_use]
    pub fn machine_file(&self) -> PathBuf {
        self.agent_folder().join("agent.json")
    }

    /// Notes of machines that are made for a while only.
    #[must_use]
    pub fn passing_folder(&self) -> PathBuf {
        self.root.join("passing")
    }

    /// The note of one of them.
    #[must_use]
    pub fn passing_file(&self, intent: IntentId) -> PathBuf {
        self.passing_folder().join(format!("{intent}.json"))
    }

    /// The wishes for the first machines of a cluster that has no document yet.
    #[must_use]
    pub fn founding_file(&self, cluster: &Name) -> PathBuf {
        self.root.join("founding").join(format!("{cluster}.json"))
    }

    /// The key that opens a cluster's secrets and backups when no member is left.
    #[must_use]
    pub fn recovery_file(&self, cluster: ClusterId) -> PathBuf {
        self.root.join("recovery").join(format!("{cluster}.key"))
    }

    /// Where the other members were last.
    #[must_use]
    pub fn peers_file(&self) -> PathBuf {
        self.agent_folder().join("peers.json")
    }

    /// The replicated document.
    #[must_use]
    pub fn document_folder(&self) -> PathBuf {
        self.agent_folder().join("document")
    }

    /// The document as readable JSON.
    #[must_use]
    pub fn export_file(&self) -> PathBuf {
        self.agent_folder().join("mutable_config.json")
    }

    /// Where the agent's API answers.
    #[must_use]
    pub fn socket_file(&self) -> PathBuf {
        self.agent_folder().join("agent.sock")
    }

    /// Held by the running agent, so that there is only one.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.agent_folder().join("agent.lock")
    }

    /// What the agent tells.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.agent_folder().join("agent.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_home_follows_the_environment() {
        let standard = |state: Option<&str>, home: Option<&str>, root| {
            Home::standard(state.map(Into::into), home.map(Into::into), root)
                .map(|home| home.root().to_owned())
        };
        assert_eq!(standard(Some("/s"), Some("/h"), false), Some("/s/raptor".into()));
        assert_eq!(standard(Some("rel"), Some("/h"), false), Some("/h/.local/state/raptor".into()));
        assert_eq!(standard(None, None, false), None);
        assert_eq!(standard(Some("/s"), None, true), Some("/var/lib/raptor".into()));
    }

    #[test]
    fn a_local_machine_has_a_home_of_its_own() {
        let home = Home::new("/h");
        let machine = home.machine(&"default".parse().unwrap(), &"m-1".parse().unwrap());
        assert_eq!(machine.socket_file(), Path::new("/h/machines/default/m-1/agent/agent.sock"));
    }
}
