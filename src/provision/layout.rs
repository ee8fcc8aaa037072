//! Where things are on a machine. Pure.

use crate::ssh::host::Command;

/// The places, all below one root, so that a test never touches the real ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    root: String,
}

impl Layout {
    /// Places below `root`; empty for the machine's own.
    #[must_use]
    pub fn below(root: impl Into<String>) -> Self {
        let root: String = root.into();
        Self { root: root.trim_end_matches('/').to_owned() }
    }

    /// Whether these are the machine's own places, where its init system looks.
    #[must_use]
    pub fn is_real(&self) -> bool {
        self.root.is_empty()
    }

    /// The prefix of every path; empty for the machine's own.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// `raptor agent VERB` on the machine, for its own home.
    #[must_use]
    pub fn agent_command(&self, verb: &str, needs_sudo: bool) -> Command {
        let (program, home) = (self.program(), self.home());
        let mut command = Command::new([program.as_str(), "--home", home.as_str(), "agent", verb]);
        command.sudo = needs_sudo;
        command
    }

    /// Releases, `current` and the boot script.
    #[must_use]
    pub fn library(&self) -> String {
        self.path("/usr/local/lib/raptor")
    }

    /// The command on everybody's path.
    #[must_use]
    pub fn command(&self) -> String {
        self.path("/usr/local/bin/raptor")
    }

    /// The program that runs.
    #[must_use]
    pub fn program(&self) -> String {
        format!("{}/current/raptor", self.library())
    }

    /// The program of one release.
    #[must_use]
    pub fn release(&self, release: &str) -> String {
        format!("{}/releases/{release}/raptor", self.library())
    }

    /// The agent's home.
    #[must_use]
    pub fn home(&self) -> String {
        self.path("/var/lib/raptor")
    }

    /// Everything that provisioning wrote.
    #[must_use]
    pub fn log(&self) -> String {
        self.path("/var/log/raptor/provision.log")
    }

    /// Any absolute path below the root.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }
}
