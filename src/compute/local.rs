//! Compute type `local`: a machine is a folder and a process group of its own on this computer.
//!
//! `MACHINES/<cluster id>/<name>/machine.json` is written first, in one step; the folder is the
//! home of the machine's agent. Nothing here starts a process: the agent is put on it as on any
//! other machine.

pub(super) mod lock;
pub mod process;
pub(super) mod record;
pub mod supervisor;

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::compute::Availability;
use crate::compute::Compute;
use crate::compute::Work;
use crate::compute::error::Cause;
use crate::compute::error::ComputeError;
use crate::compute::local::lock::Lock;
use crate::compute::local::record::Record;
use crate::model::cluster::ClusterId;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;
use crate::model::name::Name;

/// `local` takes no parameters.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalSettings {}

/// Start of the name of a folder that is being made. No machine is called so: names have no dots.
pub(super) const STAGING_PREFIX: &str = ".new-";
/// Start of the name of a folder that is being removed.
pub(super) const REMOVING_PREFIX: &str = ".gone-";

/// How long an agent may take to shut down before it is made to.
const PATIENCE: Duration = Duration::from_secs(5);

/// The back-end.
#[derive(Debug)]
pub struct Local {
    compute_type: String,
    machines: PathBuf,
}

impl Local {
    /// Machines of `compute_type` under the folder `machines`, which is made when first needed.
    #[must_use]
    pub fn new(compute_type: &str, machines: &Path) -> Self {
        Self { compute_type: compute_type.to_owned(), machines: machines.to_owned() }
    }

    fn error(&self, machine: Option<&Name>, step: &'static str, cause: Cause) -> ComputeError {
        ComputeError::new(&self.compute_type, machine, step, cause)
    }

    fn cluster_folder(&self, cluster: ClusterId) -> PathBuf {
        self.machines.join(cluster.to_string())
    }

    /// Every machine under the folder of `cluster`, by name; what is no machine is passed over.
    fn read_cluster(&self, cluster: ClusterId) -> Result<Vec<Found>, Cause> {
        let folder = self.cluster_folder(cluster);
        let mut found = Vec::new();
        for entry in folders_in(&folder)? {
            let Some(name) = entry.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
                continue;
            };
            match Record::read(&entry) {
                Ok(record) if record.cluster == cluster && record.name == name => {
                    found.push(Found { record, folder: entry });
                }
                Ok(_) => {
                    tracing::warn!(?entry, "passed over: its machine.json names another place");
                }
                // Another process has just taken it away.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !entry.exists() => {}
                Err(error) => {
                    tracing::warn!(?entry, %error, "passed over: no readable machine.json");
                }
            }
        }
        found.sort_by(|left, right| left.record.name.cmp(&right.record.name));
        Ok(found)
    }

    /// The machine of `intent`, in whatever cluster.
    fn read_intent(&self, intent: IntentId) -> Result<Option<Found>, Cause> {
        for folder in folders_in(&self.machines)? {
            let cluster = folder.file_name().and_then(|name| name.to_str()?.parse().ok());
            let Some(cluster) = cluster else { continue };
            let found = self.read_cluster(cluster)?;
            if let Some(found) = found.into_iter().find(|found| found.record.intent == intent) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A handful of small file operations without a point at which the future could be dropped: the
    /// machine is there whole or not at all.
    fn make(&self, spec: &MachineSpec, _lock: &Lock) -> Result<Machine, Cause> {
        let taken = |folder: &Path| Cause::NameTaken { holder: folder.display().to_string() };
        if let Some(found) = self.read_intent(spec.intent)? {
            let same = found.record.cluster == spec.cluster;
            return if same { Ok(found.machine()) } else { Err(taken(&found.folder)) };
        }
        let cluster_folder = self.cluster_folder(spec.cluster);
        lock::make_private_folder(&cluster_folder)?;
        sweep(&cluster_folder)?;
        let folder = cluster_folder.join(spec.name.as_str());
        if fs::symlink_metadata(&folder).is_ok() {
            return Err(taken(&folder));
        }
        let staging = cluster_folder.join(format!("{STAGING_PREFIX}{}", spec.intent));
        lock::make_private_folder(&staging)?;
        let record = Record::of(spec);
        record.write(&staging)?;
        fs::rename(&staging, &folder).map_err(|source| Cause::io("make", &folder, source))?;
        record::sync_folder(&cluster_folder)?;
        Ok(Found { record, folder }.machine())
    }

    /// Takes the folder out of sight in one step, then removes it.
    fn remove(&self, machine: &Machine, _lock: &Lock) -> Result<(), Cause> {
        let Some(found) = self.read_exactly(machine)? else { return Ok(()) };
        let cluster_folder = self.cluster_folder(machine.cluster);
        sweep(&cluster_folder)?;
        let removing = cluster_folder.join(format!("{REMOVING_PREFIX}{}", machine.intent));
        fs::rename(&found.folder, &removing)
            .map_err(|source| Cause::io("remove", &found.folder, source))?;
        sweep(&cluster_folder)?;
        // Refused by the system while another machine of the cluster is in it.
        let _ = fs::remove_dir(&cluster_folder);
        Ok(())
    }

    /// The folder that carries both this machine's intent and its cluster.
    fn read_exactly(&self, machine: &Machine) -> Result<Option<Found>, Cause> {
        let found = self.read_cluster(machine.cluster)?;
        Ok(found.into_iter().find(|found| found.record.intent == machine.intent))
    }

    async fn take_down(&self, machine: &Machine) -> Result<(), Cause> {
        let Some(found) = self.read_exactly(machine)? else { return Ok(()) };
        supervisor::stop(&found.folder, PATIENCE).await?;
        let lock = Lock::take(&self.machines).await?;
        let (this, machine) = (Self::new(&self.compute_type, &self.machines), machine.clone());
        // A machine's folder may be large. The lock goes along: it holds until the end.
        let removal = tokio::task::spawn_blocking(move || this.remove(&machine, &lock));
        removal.await.unwrap_or_else(|error| {
            Err(Cause::io("remove", &found.folder, io::Error::other(error)))
        })
    }
}

impl Compute for Local {
    fn name(&self) -> &str {
        &self.compute_type
    }

    fn check(&self) -> Work<'_, Availability> {
        Box::pin(async move {
            lock::make_private_folder(&self.machines)
                .map_err(|cause| self.error(None, "use its folder", cause))?;
            Ok(Availability { summary: format!("processes under {}", self.machines.display()) })
        })
    }

    fn scope(&self) -> Work<'_, String> {
        Box::pin(async {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            Ok(format!("{host}:{}", self.machines.display()))
        })
    }

    fn create<'a>(&'a self, spec: &'a MachineSpec) -> Work<'a, Machine> {
        Box::pin(async move {
            let step = "make its folder";
            let fail = |cause| self.error(Some(&spec.name), step, cause);
            let lock = Lock::take(&self.machines).await.map_err(fail)?;
            self.make(spec, &lock).map_err(fail)
        })
    }

    fn find(&self, intent: IntentId) -> Work<'_, Option<Machine>> {
        Box::pin(async move {
            let found = self.read_intent(intent);
            let found = found.map_err(|cause| self.error(None, "look for a machine", cause))?;
            Ok(found.as_ref().map(Found::machine))
        })
    }

    fn list(&self, cluster: ClusterId) -> Work<'_, Vec<Machine>> {
        Box::pin(async move {
            let found = self.read_cluster(cluster);
            let found = found.map_err(|cause| self.error(None, "list the machines", cause))?;
            Ok(found.iter().map(Found::machine).collect())
        })
    }

    fn destroy<'a>(&'a self, machine: &'a Machine) -> Work<'a, ()> {
        Box::pin(async move {
            let done = self.take_down(machine).await;
            done.map_err(|cause| self.error(Some(&machine.name), "destroy it", cause))
        })
    }
}

/// A machine's folder and what its `machine.json` says.
struct Found {
    record: Record,
    folder: PathBuf,
}

impl Found {
    fn machine(&self) -> Machine {
        Machine {
            id: self.folder.display().to_string(),
            intent: self.record.intent,
            cluster: self.record.cluster,
            name: self.record.name.clone(),
            running: supervisor::is_running(&self.folder),
            access: Some(Access::Local { home: self.folder.clone() }),
        }
    }
}

/// The real folders in `folder` (symbolic links are no folders); none when it is not there.
pub(super) fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, Cause> {
    let fail = |source| Cause::io("read", folder, source);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// Removes what a crash left half-made or half-removed. Only under the lock: what is seen then
/// belongs to nobody who is alive.
pub(super) fn sweep(cluster_folder: &Path) -> Result<(), Cause> {
    for folder in folders_in(cluster_folder)? {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(STAGING_PREFIX) || name.starts_with(REMOVING_PREFIX) {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Cause::io("remove", &folder, error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
