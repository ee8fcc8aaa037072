//! `agent/agent.json`: what this machine knows of itself between two runs of its agent.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::agent::api::BootstrapPeer;
use crate::model::cluster::Genesis;
use crate::model::label::Labels;
use crate::model::name::Name;
use crate::model::possession::Challenge;
use crate::model::time::Timestamp;

/// Version of the file's format.
pub const MACHINE_FILE_VERSION: u32 = 1;

/// What a machine is told that it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The machine's name.
    pub name: Name,
    /// How the machine was got.
    pub compute_type: String,
    /// What it is provisioned to be.
    pub server_type: String,
    /// Labels given by the user.
    #[serde(default)]
    pub labels: Labels,
    /// The UDP address to listen on; none lets the system choose a port, which is then kept.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// Port of the machine's own `sshd`, when `raptor ssh` may use one.
    #[serde(default)]
    pub ssh_port: Option<u16>,
    /// Login for `raptor ssh`.
    #[serde(default)]
    pub ssh_user: Option<String>,
}

/// The file. Unknown fields of a later build survive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineFile {
    /// [`MACHINE_FILE_VERSION`].
    pub version: u32,
    /// What the machine is.
    #[serde(flatten)]
    pub description: Description,
    /// The port that the system chose at the last start.
    #[serde(default)]
    pub chosen_port: Option<u16>,
    /// The cluster; none before the machine was told of one.
    #[serde(default)]
    pub genesis: Option<Genesis>,
    /// Members to call while the document is empty.
    #[serde(default)]
    pub peers: Vec<BootstrapPeer>,
    /// When the machine entered the cluster.
    #[serde(default)]
    pub joined_at: Option<Timestamp>,
    /// Set once the cluster put the machine out: its agent does not start again by itself.
    #[serde(default)]
    pub evicted: bool,
    /// What a later build says besides.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// `agent init`'s standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitRequest {
    /// What the machine will be.
    #[serde(flatten)]
    pub description: Description,
    /// Present on the first machine: the cluster to found.
    #[serde(default)]
    pub found: Option<FoundRequest>,
    /// Whether another cluster that the machine belongs to is forgotten for the one it founds.
    #[serde(default)]
    pub force: bool,
    /// What the machine signs to prove that it holds the key it names.
    #[serde(default)]
    pub challenge: Option<Challenge>,
}

/// The cluster that a first machine founds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundRequest {
    /// Its name.
    pub cluster: Name,
    /// Drawn at random by whoever wishes for the cluster.
    pub nonce: u64,
    /// Public half of the key that opens everything when no member is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<String>,
}
