//! Members as they are shown and chosen.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::model::identity::NodeId;
use crate::model::label::{Labels, Selectable};
use crate::model::name::Name;
use crate::model::nat::NatKind;
use crate::model::time::Timestamp;

/// How the others see a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It answers.
    Alive,
    /// It did not answer a probe, nor did others reach it; it may still refute.
    Suspect,
    /// Nobody reached it in time.
    Failed,
    /// It said goodbye.
    Left,
    /// Admitted, and not yet seen.
    Booting,
}

impl Status {
    /// Every way there is.
    pub const ALL: [Self; 5] =
        [Self::Alive, Self::Suspect, Self::Failed, Self::Left, Self::Booting];
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
            Self::Left => "left",
            Self::Booting => "booting",
        })
    }
}

/// What a member may do. Only `Full` members write the document and run commands on others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Holds everything and may rebuild the rest.
    #[default]
    Full,
    /// Runs tasks and carries packets.
    Worker,
}

/// One row of `raptor members`: the keys are a contract (`-o json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The machine's key.
    pub id: NodeId,
    /// Its name.
    pub name: Name,
    /// Its mesh address.
    pub address: Ipv6Addr,
    /// How the others see it.
    pub status: Status,
    /// Its server type.
    #[serde(rename = "type")]
    pub server_type: String,
    /// Version of its build.
    pub build: String,
    /// Version of the wire it speaks.
    pub protocol: u32,
    /// The cluster's name.
    pub dc: Name,
    /// How the machine was got.
    pub compute_type: String,
    /// UDP addresses at which it may be reached.
    pub endpoints: Vec<SocketAddr>,
    /// What stands between it and the others.
    #[serde(default)]
    pub nat: NatKind,
    /// The member through which packets to it go first; none when the link is direct.
    pub via: Option<Name>,
    /// Round-trip time of the path in milliseconds.
    pub rtt_ms: Option<f64>,
    /// When it entered the cluster.
    pub joined_at: Timestamp,
    /// Its labels.
    pub labels: Labels,
}

impl Selectable for Member {
    fn attribute(&self, key: &str) -> Option<String> {
        match key {
            "name" => Some(self.name.to_string()),
            "id" => Some(self.id.to_string()),
            "status" => Some(self.status.to_string()),
            "compute_type" => Some(self.compute_type.clone()),
            "server_type" => Some(self.server_type.clone()),
            label => self.labels.get(label).cloned(),
        }
    }
}
