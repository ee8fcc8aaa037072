//! The configuration, typed. The doc comments are the descriptions in `raptor config schema`.

pub mod artefact;
pub mod compute;
pub mod sections;
mod switch;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::module::carried::CarriedModule;
use crate::config::schema::artefact::Artefact;
use crate::config::schema::compute::{ComputeType, ServerType};
use crate::config::schema::sections::{
    BackupConfig, ClusterConfig, DnsConfig, MembershipConfig, MeshConfig, ProvisionConfig,
    SpawnConfig, SshConfig,
};
use crate::model::hook::Hooks;
use crate::model::rule::FleetLimits;
use crate::model::rule::Rules;

/// Version of the configuration that this build reads and writes.
pub const CONFIG_VERSION: u32 = 1;

/// The configuration of raptor. Every layer may hold any part of it; keys that begin with
/// `_comment` are ignored everywhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Version of this file's format: 1.
    pub version: u32,
    /// The cluster that `spawn` founds.
    pub cluster: ClusterConfig,
    /// The compute type that `spawn` uses unless told otherwise.
    pub default_compute_type: String,
    /// The server type that machines become unless told otherwise.
    pub default_server_type: String,
    /// Ways to get a machine, by name.
    pub compute_types: BTreeMap<String, ComputeType>,
    /// What machines are provisioned to be, by name.
    pub server_types: BTreeMap<String, ServerType>,
    /// Modules that travel with the configuration, by name; written by `raptor install`.
    pub modules: BTreeMap<String, CarriedModule>,
    /// Files that all members keep, by name; written by `raptor artefact add`.
    pub artefacts: BTreeMap<String, Artefact>,
    /// The encrypted overlay network.
    pub mesh: MeshConfig,
    /// Names of the members.
    pub dns: DnsConfig,
    /// Finding out who lives.
    pub membership: MembershipConfig,
    /// Reaching machines through SSH.
    pub ssh: SshConfig,
    /// Getting machines from a back-end.
    pub spawn: SpawnConfig,
    /// Taking machines over.
    pub provision: ProvisionConfig,
    /// What must hold about the fleet, by name. Only what the document says counts.
    pub rules: Rules,
    /// Bounds of the whole fleet. Only what the document says counts.
    pub fleet: FleetLimits,
    /// Backups that the members make by themselves, and the places of `raptor backup`.
    pub backup: BackupConfig,
    /// Commands for when something has happened, by name.
    pub hooks: Hooks,
    /// Your own values: kept, replicated, and never looked at by raptor.
    pub user: Map<String, Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: CONFIG_VERSION,
            cluster: ClusterConfig::default(),
            default_compute_type: "local".to_owned(),
            default_server_type: "headless".to_owned(),
            compute_types: BTreeMap::new(),
            server_types: BTreeMap::new(),
            modules: BTreeMap::new(),
            artefacts: BTreeMap::new(),
            mesh: MeshConfig::default(),
            dns: DnsConfig::default(),
            membership: MembershipConfig::default(),
            ssh: SshConfig::default(),
            spawn: SpawnConfig::default(),
            provision: ProvisionConfig::default(),
            rules: Rules::new(),
            fleet: FleetLimits::default(),
            backup: BackupConfig::default(),
            hooks: Hooks::new(),
            user: Map::new(),
        }
    }
}

/// The JSON Schema of the configuration.
#[must_use]
pub fn schema() -> Value {
    schemars::schema_for!(Config).into()
}
