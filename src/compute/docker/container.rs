//! Containers as `docker inspect` shows them, and the labels that make one a machine.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use crate::model::cluster::ClusterId;
use crate::model::destination::Destination;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;

pub(super) const INTENT_LABEL: &str = "raptor.intent";
pub(super) const CLUSTER_LABEL: &str = "raptor.cluster";
pub(super) const NAME_LABEL: &str = "raptor.name";
/// Before the key of each label that the user gave.
const USER_LABEL_PREFIX: &str = "raptor.label.";

/// What is needed of an answer; the rest is passed over.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) state: State,
    /// How often the engine started it anew because it had ended.
    #[serde(default)]
    pub(super) restart_count: u64,
    config: Config,
    #[serde(default)]
    network_settings: NetworkSettings,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct State {
    /// `created`, `running`, `paused`, `restarting`, `exited`, `dead`.
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) running: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default)]
    networks: Option<BTreeMap<String, Network>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Network {
    #[serde(rename = "IPAddress", default)]
    ipv4: String,
    #[serde(rename = "GlobalIPv6Address", default)]
    ipv6: String,
}

impl Container {
    fn label(&self, key: &str) -> Option<&str> {
        self.config.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// The cluster it carries as its label.
    pub(super) fn cluster(&self) -> Option<ClusterId> {
        self.label(CLUSTER_LABEL)?.parse().ok()
    }

    fn intent(&self) -> Option<IntentId> {
        self.label(INTENT_LABEL)?.parse().ok()
    }

    /// Its first address, IPv4 before IPv6.
    fn address(&self) -> Option<IpAddr> {
        let networks = self.network_settings.networks.as_ref()?;
        let addresses = |pick: fn(&Network) -> &String| {
            networks.values().find_map(|network| pick(network).parse().ok())
        };
        addresses(|network| &network.ipv4).or_else(|| addresses(|network| &network.ipv6))
    }

    /// The machine in it; none when it lacks one of our labels.
    pub(super) fn machine(&self, host_keys: Vec<String>) -> Option<Machine> {
        let access = self.address().map(|address| Access::Ssh {
            destination: Destination {
                user: Some("root".to_owned()),
                host: address.to_string(),
                port: Some(22),
            },
            via: None,
            identity_file: None,
            host_keys,
        });
        Some(Machine {
            id: self.id.clone(),
            intent: self.intent()?,
            cluster: self.cluster()?,
            name: self.label(NAME_LABEL)?.parse().ok()?,
            running: self.state.running && self.state.status == "running",
            access,
        })
    }
}

/// The labels of the machine for `spec`, as `KEY=VALUE`.
pub(super) fn labels_for(spec: &MachineSpec) -> Vec<String> {
    let mut labels = vec![
        format!("{INTENT_LABEL}={}", spec.intent),
        format!("{CLUSTER_LABEL}={}", spec.cluster),
        format!("{NAME_LABEL}={}", spec.name),
    ];
    let given = spec.labels.iter();
    labels.extend(given.map(|(key, value)| format!("{USER_LABEL_PREFIX}{key}={value}")));
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::conformance::spec;
    use serde_json::json;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1v0ZZ0S5K3cV0q5yHc0m2Yp0q3V7i3v9V1l2s3t4u5";

    fn answer(networks: &serde_json::Value, status: &str) -> Container {
        let spec = spec("web-1", 1, 2);
        let labels: BTreeMap<String, String> = labels_for(&spec)
            .iter()
            .filter_map(|label| label.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        serde_json::from_value(json!({
            "Id": "0123", "Name": "/raptor-x", "Unknown": [1],
            "State": {"Status": status, "Running": status != "exited", "Pid": 7},
            "Config": {"Labels": labels, "Image": "x"},
            "NetworkSettings": {"Networks": networks, "Ports": {}},
        }))
        .unwrap()
    }

    #[test]
    fn labels_and_address_make_a_machine() {
        let networks = json!({"a": {"IPAddress": ""}, "b": {"IPAddress": "10.1.2.3"}});
        let machine = answer(&networks, "running").machine(vec![KEY.to_owned()]).unwrap();
        let spec = spec("web-1", 1, 2);
        assert_eq!((machine.intent, machine.cluster), (spec.intent, spec.cluster));
        assert!(machine.running);
        let Some(Access::Ssh { destination, host_keys, .. }) = machine.access else { panic!() };
        assert_eq!(destination.to_string(), "root@10.1.2.3:22");
        assert_eq!(host_keys, [KEY]);
    }

    #[test]
    fn what_does_not_run_or_has_no_address_or_no_labels_is_seen_as_such() {
        for status in ["exited", "paused", "restarting"] {
            let machine = answer(&json!({}), status).machine(Vec::new()).unwrap();
            assert!(!machine.running && machine.access.is_none(), "{status}");
        }
        let bare = json!({"Id": "1", "State": {}, "Config": {"Labels": null}});
        let bare: Container = serde_json::from_value(bare).unwrap();
        assert_eq!(bare.machine(Vec::new()), None);
    }
}
