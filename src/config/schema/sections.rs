//! The sections of the configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::schema::switch;
use crate::model::name::Name;
use crate::model::reach::Reach;

/// The cluster that `spawn` founds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// Its name: 1 to 63 of a-z, 0-9 and inner hyphens.
    #[schemars(with = "String")]
    pub name: Name,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        // "default" is a sound name, which the test of the defaults shows.
        Self { name: Name::from_hostname("default") }
    }
}

/// Backups: all that is needed to found the cluster again, sealed to the recovery key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackupConfig {
    /// Milliseconds between two backups that the members make by themselves; 0: they make none.
    pub every_ms: u64,
    /// How many of the cluster's backups each place keeps. 1 to 10000.
    pub keep: u32,
    /// Where they go, by name.
    pub targets: BTreeMap<String, BackupTarget>,
}

impl Default for BackupConfig {
    fn default() -> Self {
        Self { every_ms: 0, keep: 7, targets: BTreeMap::new() }
    }
}

/// A place for backups.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackupTarget {
    /// A folder, or an address: `http(s)://`, `webdav(s)://`, `s3://`, `sftp://`, `couchdb(s)://`.
    pub url: String,
    /// The cluster's secret with the credentials.
    pub secret: Option<String>,
}

/// The encrypted overlay network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MeshConfig {
    /// UDP address and port at which an agent listens. A `local` machine takes a free port instead.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Rings that link the members: each member keeps at most twice as many links. 1 to 8.
    pub rings: u8,
    /// Milliseconds between two probes of a link that carries nothing.
    pub ping_interval_ms: u64,
    /// Milliseconds without an answer after which a link is down.
    pub link_timeout_ms: u64,
    /// The network interface through which any program reaches the members.
    pub interface: InterfaceConfig,
    /// Whether an agent asks its router (by PCP, NAT-PMP or `UPnP`) to lead a port to it, so that
    /// members elsewhere can dial it. Given back when the agent ends. Takes effect at its next start.
    pub port_mapping: bool,
    /// What carries the cluster.
    pub engine: Engine,
    /// For the engine `external`: the interface's name (`tun0`) or the range of its addresses
    /// (`200::/7`).
    pub network: String,
    /// Which links this machine has: `full`, `linked` (it dials, and nobody dials it) or `tree` (one
    /// link, to `mesh.parent`). Counts only in the machine's own file.
    pub reach: Reach,
    /// The name of the member that a `tree` machine links to. As `mesh.reach`.
    pub parent: String,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 4863)),
            rings: 3,
            ping_interval_ms: 800,
            link_timeout_ms: 4_000,
            interface: InterfaceConfig::default(),
            port_mapping: false,
            engine: Engine::Raptor,
            network: String::new(),
            reach: Reach::Full,
            parent: String::new(),
        }
    }
}

/// What carries the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Whatever networks the machines have.
    Raptor,
    /// One existing network, such as yggdrasil, `WireGuard` or Tailscale, and no other: members
    /// listen at their address in it (`mesh.network`).
    External,
}

/// Names of the members: `NODE.raptor` and `NODE.CLUSTER.raptor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DnsConfig {
    /// Whether an agent answers them.
    #[serde(deserialize_with = "switch::or_bool")]
    pub enabled: DnsMode,
    /// Where: address and port, for UDP and TCP.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// How the system's resolver is led there.
    pub resolver: DnsResolver,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            enabled: DnsMode::Auto,
            listen: SocketAddr::from(([127, 0, 0, 153], 53)),
            resolver: DnsResolver::Auto,
        }
    }
}

/// When an agent answers names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DnsMode {
    /// When it may, and the machine is not a process that shares its computer (`local`).
    Auto,
    /// Always; what stands in the way is a problem that `raptor status` tells.
    On,
    /// Never.
    Off,
}

/// How the system's resolver is led to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DnsResolver {
    /// Through systemd-resolved where that runs, for the mesh interface; else by
    /// `/etc/resolv.conf`, whose original comes back when the agent ends.
    Auto,
    /// Through systemd-resolved only.
    Resolved,
    /// Not at all.
    Off,
}

/// The network interface of a machine in the overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InterfaceConfig {
    /// Its name: 1 to 15 letters, digits, `-`, `_` or `.`.
    pub name: String,
    /// Whether an agent makes it.
    #[serde(deserialize_with = "switch::or_bool")]
    pub enabled: InterfaceMode,
}

impl Default for InterfaceConfig {
    fn default() -> Self {
        Self { name: "raptor0".to_owned(), enabled: InterfaceMode::Auto }
    }
}

/// When an agent makes the network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceMode {
    /// When it may, and the machine is not a process that shares its computer (`local`).
    Auto,
    /// Always; what stands in the way is a problem that `raptor status` tells.
    On,
    /// Never.
    Off,
}

/// Finding out who lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MembershipConfig {
    /// Milliseconds between two probes of a random member.
    pub probe_period_ms: u64,
    /// Milliseconds to wait for an answer before others are asked to probe; less than the period.
    pub probe_timeout_ms: u64,
    /// Milliseconds that a suspected member has to show that it lives.
    pub suspicion_ms: u64,
}

impl Default for MembershipConfig {
    fn default() -> Self {
        Self { probe_period_ms: 1_000, probe_timeout_ms: 400, suspicion_ms: 3_000 }
    }
}

/// Reaching machines through SSH. The user's own `ssh` is used, so `~/.ssh/config` holds as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SshConfig {
    /// Milliseconds until a connection attempt is given up.
    pub connect_timeout_ms: u64,
    /// Handshakes that may run at once. 1 to 1024.
    pub concurrent_handshakes: u16,
    /// Secret key to offer besides the user's own.
    pub identity_file: Option<PathBuf>,
    /// Configuration file for `ssh` instead of `~/.ssh/config`.
    pub config_file: Option<PathBuf>,
    /// More options for `ssh`, as in `ssh_config(5)`: name and value.
    pub options: BTreeMap<String, String>,
}

impl Default for SshConfig {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 10_000,
            concurrent_handshakes: 32,
            identity_file: None,
            config_file: None,
            options: BTreeMap::new(),
        }
    }
}

/// Getting machines from a back-end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpawnConfig {
    /// Machines that are made at once. 1 to 1024.
    pub concurrent: u16,
    /// Milliseconds until a machine that does not come up is given up.
    pub timeout_ms: u64,
}

impl Default for SpawnConfig {
    fn default() -> Self {
        Self { concurrent: 16, timeout_ms: 300_000 }
    }
}

/// Taking machines over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProvisionConfig {
    /// Milliseconds until one machine's provisioning is given up.
    pub timeout_ms: u64,
    /// Milliseconds until one step is given up, unless its module says otherwise.
    pub step_timeout_ms: u64,
    /// Megabytes that must be free on a machine before it is taken over.
    pub free_disk_mb: u64,
    /// Milliseconds by which a machine's clock may differ from this one's.
    pub clock_skew_ms: u64,
    /// Values of provisioning modules' variables, by module.
    pub variables: BTreeMap<String, Map<String, Value>>,
}

impl Default for ProvisionConfig {
    fn default() -> Self {
        Self {
            timeout_ms: 1_800_000,
            step_timeout_ms: 600_000,
            free_disk_mb: 100,
            clock_skew_ms: 60_000,
            variables: BTreeMap::new(),
        }
    }
}

impl SshConfig {
    /// `connect_timeout_ms` as a duration.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }
}
