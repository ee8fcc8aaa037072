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
    /// Which back-end drives it: `local`, `docker`, `vagrant`, `plugin`, or a cloud such as `digitalocean`.
    pub driver: String,
    /// Whether it may be used.
    pub available: bool,
    /// What it is, for people.
    pub description: String,
    /// The driver's own keys: see [`LocalParameters`], [`DockerParameters`], [`CloudParameters`],
    /// [`VagrantParameters`], [`PluginParameters`].
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
pub const DRIVERS: [&str; 9] =
    ["digitalocean", "docker", "ec2", "hetzner", "linode", "local", "plugin", "vagrant", "vultr"];

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

/// What the driver `vagrant` takes: machines are booted by Vagrant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VagrantParameters {
    /// The program: `vagrant`, or a path.
    pub program: Option<String>,
    /// Vagrant's provider, such as `libvirt`; its own choice when absent.
    pub provider: Option<String>,
    /// The box: a name that Vagrant knows or finds.
    #[serde(rename = "box")]
    pub box_name: Option<String>,
    /// Which of its versions.
    pub box_version: Option<String>,
    /// Where it is when no catalogue says: an address or a file.
    pub box_url: Option<String>,
    /// Memory of a machine in MiB.
    pub memory_mb: Option<u64>,
    /// Processors of a machine.
    pub cpus: Option<u64>,
    /// Settings of the provider by their names in a Vagrantfile.
    pub provider_settings: Map<String, Value>,
    /// How long making a machine may take, its box's download included.
    pub create_timeout_ms: Option<u64>,
    /// How long it may take to boot.
    pub boot_timeout_ms: Option<u64>,
}

/// What the driver `plugin` takes: machines are made by a program `raptor-provider-NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PluginParameters {
    /// Its `NAME`; without one it is the compute type's.
    pub provider: Option<String>,
    /// A folder to look in before the home's `providers` and `PATH`.
    pub folder: Option<PathBuf>,
    /// The program's SHA-256 in hexadecimal: no other is run.
    pub sha256: Option<String>,
    /// What the plug-in itself is told.
    pub settings: Map<String, Value>,
    /// What it is told secretly: the path of a file of mode 0600 for each, or `$VARIABLE`.
    pub secrets: BTreeMap<String, String>,
    /// Variables of the environment that it gets besides `PATH`, `HOME`, locale and proxies.
    pub environment: Vec<String>,
    /// How long it may take to answer.
    pub timeout_ms: Option<u64>,
    /// How long it may take to make a machine.
    pub create_timeout_ms: Option<u64>,
    /// How long a machine that was made may take to let us in.
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
