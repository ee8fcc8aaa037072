//! On hosts of their own: containers with a real sshd, on networks that the test made.

mod artefact;
mod chain;
mod chaos;
mod cloud;
mod consul;
mod docker;
mod harness;
mod hypervisors;
mod join;
mod killed;
mod leaving;
mod modules;
mod names;
mod package;
mod plugin;
mod refusals;
mod reviving;
mod slave;
mod survivors;
mod systemd;
mod trust;
mod vagrant;

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::container::Container;
use crate::support::docker::Network;
use crate::support::keys::KeyPair;
use crate::support::run::Invocation;
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

/// How long a whole `slave` or `spawn` may take on a busy computer.
const WORK_LIMIT: Duration = Duration::from_secs(120);

/// A user with a key, and a network for their hosts.
struct Site {
    sandbox: Sandbox,
    key: KeyPair,
    network: Network,
    _folder: TempDir,
}

impl Site {
    /// One whose server type does nothing, where provisioning is not what is tested.
    fn new() -> Self {
        let sandbox = Sandbox::new();
        configure(&sandbox, &json!({}));
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::create(folder.path(), "client");
        Self { sandbox, key, network: Network::create(), _folder: folder }
    }

    fn host(&self, name: &str) -> Container {
        Container::start(name, &self.network, &self.key)
    }

    fn destination(&self, host: &Container) -> String {
        host.destination(&self.network)
    }

    /// `raptor slave -i KEY ARGUMENTS`.
    fn slave(&self, arguments: &[&str]) -> Invocation {
        let invocation = self.sandbox.raptor(["slave", "-i"]).arg(&self.key.secret);
        invocation.args(arguments).limit(WORK_LIMIT)
    }
}

/// Writes the configuration: machines are bare, containers start from the tests' image.
fn configure(sandbox: &Sandbox, extra: &Value) {
    let mut config = json!({
        "version": 1,
        "default_server_type": "bare",
        "server_types": {"bare": {"modules": []}},
        "compute_types": {"docker": {
            "driver": "docker", "image": crate::support::docker::image(),
        }},
    });
    for (key, value) in extra.as_object().cloned().unwrap_or_default() {
        let slot = &mut config[key];
        match (slot.as_object_mut(), value) {
            (Some(known), Value::Object(more)) => known.extend(more),
            (_, value) => *slot = value,
        }
    }
    std::fs::write(sandbox.home().join("mutable_config.json"), config.to_string()).unwrap();
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn names(members: &[Value]) -> Vec<String> {
    let mut names: Vec<String> = members.iter().map(|member| text(&member["name"])).collect();
    names.sort();
    names
}

/// Everything on a host that raptor puts there, and what runs.
fn traces(host: &Container) -> String {
    host.sh("for place in /usr/local/lib/raptor /usr/local/bin/raptor /var/lib/raptor \
         /etc/cron.d/raptor /etc/systemd/system/raptor.service; do
             if [ -e \"$place\" ] || [ -L \"$place\" ]; then echo \"$place\"; fi
         done
         for process in /proc/[0-9]*; do
             line=$(tr '\\0' ' ' <\"$process/cmdline\" 2>/dev/null)
             case $line in
                 *raptor*agent*) echo \"$process: $line\" ;;
             esac
         done")
}

/// `members -o json` as the agent on `host` tells it.
fn members_seen_by(host: &Container) -> Result<Vec<Value>, String> {
    let output = host.try_input(&["raptor", "-o", "json", "members"], b"");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).map_err(|why| format!("{why}: {told}"))
}

/// Waits until every host calls exactly `count` members alive and none failed.
fn wait_for_agreement(hosts: &[&Container], count: usize) {
    for host in hosts {
        wait_until(CONVERGENCE_LIMIT, &format!("{count} alive as {} sees it", host.name), || {
            let members = members_seen_by(host)?;
            let alive = members.iter().filter(|member| member["status"] == "alive").count();
            if alive == count && members.len() == count {
                Ok(())
            } else {
                Err(format!("{members:?}"))
            }
        });
    }
}

/// What `config get PATH` answers on a host; none when there is no such key.
fn value_on(host: &Container, path: &str) -> Option<Value> {
    let output = host.try_input(&["raptor", "-o", "json", "config", "get", path], b"");
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

fn set_on(host: &Container, path: &str, value: &Value) {
    host.input(&["raptor", "config", "set", path, &value.to_string()], b"");
}

fn wait_for_value(host: &Container, path: &str, expected: Option<&Value>) {
    wait_until(CONVERGENCE_LIMIT, &format!("{path} on {}", host.name), || {
        let found = value_on(host, path);
        if found.as_ref() == expected { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

/// The agents' logs hold no fault.
fn assert_sound(hosts: &[&Container]) {
    for host in hosts {
        let log = host.sh("cat /var/lib/raptor/agent/agent.log");
        let fault = log.lines().find(|line| line.contains("ERROR") || line.contains("panicked"));
        assert_eq!(fault, None, "the log of {}:\n{log}", host.name);
    }
}
