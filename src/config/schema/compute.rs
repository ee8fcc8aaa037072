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

/// What the driver `local` takes: machines are processes on this computer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LocalParameters {
    /// UDP address at which the machines listen, port 0 for any free one.
    pub listen: Option<String>,
}

/// What the driver `docker` takes: machines are containers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DockerParameters {
    /// Image to run; without one it is built from the Dockerfile.
    pub image: Option<String>,
    /// Dockerfile to build the image from: a path, or a file of the compute type's module.
    pub dockerfile: Option<String>,
    /// Image on which the Dockerfile builds.
    pub base_image: Option<String>,
    /// More arguments for `docker run`.
    pub run_args: Vec<String>,
    /// Docker network to attach to.
    pub network: Option<String>,
    /// Login through SSH.
    pub user: Option<String>,
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
