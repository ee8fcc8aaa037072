//! What a machine is before anything is done to it: one script, one pure parser.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::provision::layout::Layout;
use crate::provision::service::{Init, files_of_every_kind};
use crate::ssh::quote::quote;

/// Most of one value that is kept; the agent's status is the longest.
const VALUE_LENGTH_MAX: usize = 64 * 1024;

/// How the login gets to root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// It is root.
    Root,
    /// `sudo` asks nothing.
    Sudo,
    /// `sudo` asks for a password.
    SudoWithPassword,
    /// Not at all.
    None,
}

/// What a machine is.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent observation")]
pub struct Probe {
    /// Its own name.
    pub hostname: String,
    /// The login.
    pub user: String,
    /// `Linux`.
    pub kernel: String,
    /// `x86_64`, as `uname -m` says it.
    pub architecture: String,
    /// Its clock, in seconds since 1970.
    pub clock_s: Option<u64>,
    /// The login's way to root.
    pub privilege: Privilege,
    /// `ID` of os-release: `debian`.
    pub os_id: String,
    /// `ID_LIKE` of os-release, as words.
    pub os_like: Vec<String>,
    /// `VERSION_ID` of os-release.
    pub os_version: String,
    /// `PRETTY_NAME` of os-release.
    pub os_name: String,
    /// `apt-get`, `dnf`, ...
    pub package_manager: Option<String>,
    /// What starts services.
    pub init: Init,
    /// Free bytes where raptor is installed.
    pub free_bytes: Option<u64>,
    /// Whether programs cannot be run from there.
    pub noexec: bool,
    /// Whether raptor's library folder is there.
    pub library_there: bool,
    /// Whether the agent's home is there.
    pub home_there: bool,
    /// Whether something stands where raptor's command goes.
    pub command_there: bool,
    /// Whether a service of ours is there.
    pub service_there: bool,
    /// The release that `current` names.
    pub release: Option<String>,
    /// SHA-256 of the installed program.
    pub sha256: Option<String>,
    /// What the running agent says of itself.
    pub agent: Option<Value>,
}

/// The answer is not that of the probe script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the machine's answer was cut short or mixed with other output: {start:?}")]
pub struct ProbeError {
    /// How the answer starts.
    pub start: String,
}

/// The script that a machine answers with what [`parse`] reads.
#[must_use]
pub fn probe_script(layout: &Layout) -> String {
    let services: Vec<String> = files_of_every_kind(layout);
    format!(
        "library={}\nhome={}\ncommand={}\nprogram={}\nservice_files={}\n{}",
        quote(&layout.library()),
        quote(&layout.home()),
        quote(&layout.command()),
        quote(&layout.program()),
        quote(&services.join(" ")),
        include_str!("probe.sh")
    )
}

/// Reads the answer. Lines that are no `key=value` (a login's greeting) are passed over, a key
/// that is missing is unknown.
///
/// # Errors
/// [`ProbeError`] when the answer's first or last line is missing.
pub fn parse(answer: &[u8]) -> Result<Probe, ProbeError> {
    let text = String::from_utf8_lossy(answer);
    let values: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key, value.trim()))
        .filter(|(_, value)| value.len() <= VALUE_LENGTH_MAX)
        .collect();
    let word = |key: &str| values.get(key).copied().unwrap_or_default();
    let text_of = |key: &str| word(key).chars().take(256).collect::<String>();
    let filled = |key: &str| Some(text_of(key)).filter(|value| !value.is_empty());
    if word("raptor_probe") != "1" || word("end") != "1" {
        return Err(ProbeError { start: text.chars().take(200).collect() });
    }
    Ok(Probe {
        hostname: text_of("hostname"),
        user: text_of("user"),
        kernel: text_of("kernel"),
        architecture: text_of("architecture"),
        clock_s: word("clock_s").parse().ok(),
        privilege: match word("privilege") {
            "root" => Privilege::Root,
            "sudo" => Privilege::Sudo,
            "password" => Privilege::SudoWithPassword,
            _ => Privilege::None,
        },
        os_id: text_of("os_id"),
        os_like: word("os_like").split_whitespace().take(16).map(str::to_owned).collect(),
        os_version: text_of("os_version"),
        os_name: text_of("os_name"),
        package_manager: filled("package_manager"),
        init: match word("init") {
            "systemd" => Init::Systemd,
            "openrc" => Init::OpenRc,
            "runit" => Init::Runit,
            _ => Init::Other,
        },
        free_bytes: word("free_kib").parse::<u64>().ok().map(|kib| kib.saturating_mul(1024)),
        noexec: word("noexec") == "1",
        library_there: word("library_there") == "1",
        home_there: word("home_there") == "1",
        command_there: word("command_there") == "1",
        service_there: word("service_there") == "1",
        release: filled("release").filter(|release| !release.contains(['/', '\0'])),
        sha256: filled("sha256"),
        agent: serde_json::from_str(word("agent")).ok().filter(Value::is_object),
    })
}

impl Probe {
    /// The id of the cluster that the running agent is a member of.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        self.agent.as_ref()?.get("cluster_id")?.as_str()
    }

    /// The words that a step's `when` may name.
    #[must_use]
    pub fn words(&self) -> Vec<&str> {
        let mut words = vec![self.os_id.as_str(), self.architecture.as_str(), self.init.as_str()];
        words.extend(self.os_like.iter().map(String::as_str));
        words.extend(self.package_manager.as_deref());
        words
    }
}
