//! Ways to get a machine, and what a machine becomes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A way to get a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ComputeType {
    /// Which back-end drives it: `local` or `docker`.
    pub driver: String,
    /// Whether it may be used.
    pub available: bool,
    /// What it is, for people.
    pub description: String,
    /// The driver's own keys: see [`LocalParameters`] and [`DockerParameters`].
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
pub const DRIVERS: [&str; 2] = ["docker", "local"];

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

/// What a machine is provisioned to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerType {
    /// What it is, for people.
    pub description: String,
    /// Provisioning modules, in the order in which they run.
    pub modules: Vec<String>,
}
