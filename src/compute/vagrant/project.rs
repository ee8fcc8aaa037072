//! The folder of one machine: `vagrant/INTENT` in the home, with all that Vagrant needs and keeps.

use std::fs;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::compute::error::Cause;
use crate::compute::host_keys;
use crate::compute::local::REMOVING_PREFIX;
use crate::compute::local::STAGING_PREFIX;
use crate::compute::local::folders_in;
use crate::compute::local::lock::Lock;
use crate::compute::local::lock::make_private_folder;
use crate::compute::local::record::Record;
use crate::compute::local::record::sync_folder;
use crate::compute::local::sweep;
use crate::compute::vagrant::settings::VagrantSettings;
use crate::model::destination::Destination;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;

const VAGRANTFILE: &str = include_str!("../../../compute_types/vagrant/Vagrantfile");
const PREPARE: &str = include_str!("../../../compute_types/vagrant/prepare.sh");
/// What the Vagrantfile reads.
const DATA_FILE: &str = "vagrant.json";
/// Where a machine that has booted is reached.
const ENDPOINT_FILE: &str = "endpoint.json";
const ENDPOINT_VERSION: u32 = 1;
/// Before the host key in what `prepare.sh` prints.
const HOST_KEY_MARK: &str = "raptor-host-key ";

/// A machine's folder and what its `machine.json` says.
#[derive(Debug, Clone)]
pub(super) struct Project {
    pub(super) record: Record,
    pub(super) folder: PathBuf,
}

/// Where a machine lets us in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Endpoint {
    version: u32,
    pub(super) destination: Destination,
    #[serde(default)]
    host_keys: Vec<String>,
}

impl Project {
    /// Every machine under `root`; what is no machine is passed over.
    pub(super) fn all(root: &Path) -> Result<Vec<Self>, Cause> {
        let mut found = Vec::new();
        for folder in folders_in(root)? {
            let intent = folder.file_name().and_then(|name| name.to_str()?.parse().ok());
            let Some(intent): Option<IntentId> = intent else { continue };
            match Record::read(&folder) {
                Ok(record) if record.intent == intent => found.push(Self { record, folder }),
                Ok(_) => tracing::warn!(?folder, "passed over: its machine.json names another"),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => {}
                Err(error) => tracing::warn!(?folder, %error, "passed over: no machine.json"),
            }
        }
        found.sort_by(|left, right| left.record.name.cmp(&right.record.name));
        Ok(found)
    }

    /// The machine of a wish.
    pub(super) fn find(root: &Path, intent: IntentId) -> Result<Option<Self>, Cause> {
        let mut all = Self::all(root)?.into_iter();
        Ok(all.find(|project| project.record.intent == intent))
    }

    /// The folder for a wish, made unless it is there: whole or not at all.
    pub(super) fn make(
        root: &Path,
        spec: &MachineSpec,
        settings: &VagrantSettings,
        _lock: &Lock,
    ) -> Result<Self, Cause> {
        if let Some(found) = Self::find(root, spec.intent)? {
            return Ok(found);
        }
        sweep(root)?;
        let folder = root.join(spec.intent.to_string());
        let staging = root.join(format!("{STAGING_PREFIX}{}", spec.intent));
        make_private_folder(&staging)?;
        let data = serde_json::to_vec_pretty(&data(spec, settings))
            .map_err(|source| Cause::Answer { command: DATA_FILE.to_owned(), source })?;
        write(&staging.join(DATA_FILE), &data)?;
        write(&staging.join("Vagrantfile"), VAGRANTFILE.as_bytes())?;
        write(&staging.join("prepare.sh"), PREPARE.as_bytes())?;
        let record = Record::of(spec);
        record.write(&staging)?;
        fs::rename(&staging, &folder).map_err(|source| Cause::io("make", &folder, source))?;
        sync_folder(root)?;
        Ok(Self { record, folder })
    }

    /// Takes the folder out of sight in one step, then removes it.
    pub(super) fn remove(&self, root: &Path, _lock: &Lock) -> Result<(), Cause> {
        let removing = root.join(format!("{REMOVING_PREFIX}{}", self.record.intent));
        match fs::rename(&self.folder, &removing) {
            // Another process took it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(|source| Cause::io("remove", &self.folder, source))?,
        }
        sweep(root)
    }

    /// Where it was when it had booted last.
    pub(super) fn endpoint(&self) -> Option<Endpoint> {
        let text = fs::read(self.folder.join(ENDPOINT_FILE)).ok()?;
        let endpoint: Endpoint = serde_json::from_slice(&text).ok()?;
        (endpoint.version == ENDPOINT_VERSION).then_some(endpoint)
    }

    /// Keeps where it is.
    pub(super) fn keep(&self, endpoint: &Endpoint) -> Result<(), Cause> {
        let path = self.folder.join(ENDPOINT_FILE);
        let new = path.with_extension("new");
        let text = serde_json::to_vec_pretty(endpoint)
            .map_err(|source| Cause::Answer { command: ENDPOINT_FILE.to_owned(), source })?;
        write(&new, &text)?;
        fs::rename(&new, &path).map_err(|source| Cause::io("write", &path, source))
    }

    /// Whether Vagrant has made something in it: it keeps the id in
    /// `.vagrant/machines/NAME/PROVIDER/id`.
    pub(super) fn holds_machine(&self) -> bool {
        let machines = self.folder.join(".vagrant/machines");
        let below = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
        below(machines)
            .flat_map(|machine| below(machine.path()))
            .any(|provider| provider.path().join("id").exists())
    }

    /// A file of its own for what Vagrant says: two may be at work.
    pub(super) fn log_file(&self, verb: &str) -> Result<PathBuf, Cause> {
        let mut mark = [0; 4];
        getrandom::fill(&mut mark).map_err(|_| Cause::Request {
            what: "the log's name",
            why: "cannot be drawn: the system gives no random numbers",
        })?;
        let mark = data_encoding::HEXLOWER.encode(&mark);
        Ok(self.folder.join(format!("{verb}-{mark}.log")))
    }

    pub(super) fn machine(&self, endpoint: Option<Endpoint>, running: bool) -> Machine {
        let access = endpoint.map(|endpoint| Access::Ssh {
            destination: endpoint.destination,
            via: None,
            identity_file: None,
            host_keys: endpoint.host_keys,
        });
        Machine {
            id: self.folder.display().to_string(),
            intent: self.record.intent,
            cluster: self.record.cluster,
            name: self.record.name.clone(),
            running,
            access,
        }
    }
}

impl Endpoint {
    /// From what `vagrant ssh-config` prints, and what `vagrant up` did.
    pub(super) fn read(ssh_config: &str, up: &str) -> Option<Self> {
        let value = |key: &str| {
            ssh_config.lines().find_map(|line| {
                let (word, value) = line.trim().split_once(' ')?;
                word.eq_ignore_ascii_case(key).then(|| value.trim().trim_matches('"').to_owned())
            })
        };
        let destination = Destination {
            user: value("User"),
            host: value("HostName")?,
            port: Some(value("Port")?.parse().ok()?),
        };
        // As the command line reads it: no blanks, nothing that looks like an option.
        if destination.to_string().parse::<Destination>().ok()? != destination {
            return None;
        }
        let marked = up.lines().filter_map(|line| Some(line.split_once(HOST_KEY_MARK)?.1));
        let host_keys = host_keys::parse(&marked.collect::<Vec<_>>().join("\n"));
        Some(Self { version: ENDPOINT_VERSION, destination, host_keys })
    }
}

/// What the Vagrantfile is told.
fn data(spec: &MachineSpec, settings: &VagrantSettings) -> Value {
    json!({
        "version": 1,
        "name": spec.name,
        "provider": settings.provider,
        "box": settings.box_for_provider(),
        "box_version": settings.box_version,
        "box_url": settings.box_url,
        "memory_mb": settings.memory_mb,
        "cpus": settings.cpus,
        "provider_settings": settings.provider_settings,
        "boot_timeout_s": settings.boot_timeout_ms.div_ceil(1000),
        "authorized_keys": spec.authorized_keys,
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Cause> {
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| Cause::io("write", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "Host web-1\n  HostName 127.0.0.1\n  User vagrant\n  Port 2222\n  \
                          UserKnownHostsFile /dev/null\n  IdentityFile \"/a b/key\"\n";
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1v0ZZ0S5K3cV0q5yHc0m2Yp0q3V7i3v9V1l2s3t4u5";

    #[test]
    fn the_endpoint_is_read_from_what_vagrant_prints() {
        let up = format!("==> web-1: Running provisioner\n    web-1: raptor-host-key {KEY}\n");
        let endpoint = Endpoint::read(CONFIG, &up).unwrap();
        assert_eq!(endpoint.destination.to_string(), "vagrant@127.0.0.1:2222");
        assert_eq!(endpoint.host_keys, [KEY]);
        for wrong in ["", "HostName a\n", "HostName -o\nPort 22\n", "HostName a b\nPort 22\n"] {
            assert_eq!(Endpoint::read(wrong, &up), None, "{wrong}");
        }
    }

    #[test]
    fn no_output_panics() {
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let _ = Endpoint::read(&text, &text);
            let _ = Endpoint::read(CONFIG, &text);
        });
    }
}
