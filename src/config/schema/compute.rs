//! Ways to get a machine, and what a machine becomes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A way to get a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ComputeType {
    /// Which back-end drives it: `local`, `docker`, or a cloud such as `digitalocean`.
    pub driver: String,
    /// Whether it may be used.
    pub available: bool,
    /// What it is, for people.
    pub description: String,
    /// The driver's own keys: see [`LocalParameters`], [`DockerParameters`], [`CloudParameters`].
    #[serde(flatten)]
    pub parameters: Map<String, Value>,
}

impl Default for ComputeType {
    fn default() -> Self {
        Self {
            driver: String::new(),
            available: true,
            description: String::new(),
            parameters: Map::new(),
        }
    }
}

/// Drivers that are built in.
pub const DRIVERS: [&str; 7] =
    ["digitalocean", "docker", "ec2", "hetzner", "linode", "local", "vultr"];

/// Those of them that are clouds.
pub const CLOUDS: [&str; 5] = ["digitalocean", "ec2", "hetzner", "linode", "vultr"];

/// What the driver `local` takes: nothing. Machines are processes on this computer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LocalParameters {}

/// What the driver `docker` takes: machines are containers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DockerParameters {
    /// The client program: `docker`, `podman`, or a path.
    pub program: Option<String>,
    /// A ready image with `sshd`; without one it is built from the Dockerfile.
    pub image: Option<String>,
    /// A Dockerfile in the place of the bundled one.
    pub dockerfile: Option<String>,
    /// What the Dockerfile starts from.
    pub base_image: Option<String>,
    /// Docker network to attach to.
    pub network: Option<String>,
    /// More arguments for `docker run`, such as `--memory=1g`.
    pub run_arguments: Vec<String>,
}

/// What the drivers of clouds take: machines are rented.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CloudParameters {
    /// The API's address, in the place of the provider's own.
    pub api: Option<String>,
    /// The cluster's secret with the token (`raptor secret set`), where the environment has none.
    pub token_secret: Option<String>,
    /// A file of mode 0600 with the token, where neither has.
    pub token_file: Option<PathBuf>,
    /// Where machines are made.
    pub region: String,
    /// How large they are.
    pub size: String,
    /// What they boot from: a name, or the provider's id.
    pub image: String,
    /// The private network (VPC, subnet) that they are put on.
    pub network: Option<String>,
    /// The firewall, or security group, that they are put behind.
    pub firewall: Option<String>,
    /// Whether they get an IPv6 address.
    pub ipv6: bool,
    /// Tags to put on them besides raptor's own.
    pub tags: Vec<String>,
    /// How long a machine may take until it is there and lets us in.
    pub boot_timeout_ms: Option<u64>,
}

/// What a machine is provisioned to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerType {
    /// What it is, for people.
    pub description: String,
    /// Provisioning modules, in the order in which they run.
    pub modules: Vec<String>,
    /// Values of the modules' variables, by module; they win over `provision.variables`.
    pub variables: BTreeMap<String, Map<String, Value>>,
}
