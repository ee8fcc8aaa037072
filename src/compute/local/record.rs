//! `machine.json`: what makes a folder a machine.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::compute::error::Cause;
use crate::model::cluster::ClusterId;
use crate::model::label::Labels;
use crate::model::machine::IntentId;
use crate::model::machine::MachineSpec;
use crate::model::name::Name;

const FILE: &str = "machine.json";
const VERSION: u32 = 1;
/// Far beyond any record: what is larger is none.
const SIZE_MAX: u64 = 256 * 1024;

/// The labels of a local machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::compute) struct Record {
    version: u32,
    pub(in crate::compute) intent: IntentId,
    pub(in crate::compute) cluster: ClusterId,
    pub(in crate::compute) name: Name,
    #[serde(default)]
    pub(in crate::compute) labels: Labels,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Record {
    pub(in crate::compute) fn of(spec: &MachineSpec) -> Self {
        Self {
            version: VERSION,
            intent: spec.intent,
            cluster: spec.cluster,
            name: spec.name.clone(),
            labels: spec.labels.clone(),
            rest: Map::new(),
        }
    }

    /// Reads the record of `folder`; a symbolic link in its place is refused.
    pub(in crate::compute) fn read(folder: &Path) -> io::Result<Self> {
        let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let file = OpenOptions::new().read(true).custom_flags(no_follow).open(folder.join(FILE))?;
        let mut text = Vec::new();
        file.take(SIZE_MAX).read_to_end(&mut text)?;
        let record: Self = serde_json::from_slice(&text)?;
        if record.version != VERSION {
            let message = format!("version {} is not {VERSION}", record.version);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(record)
    }

    /// Writes the record into the new folder `staging` and waits until the disk has it.
    pub(in crate::compute) fn write(&self, staging: &Path) -> Result<(), Cause> {
        let path = staging.join(FILE);
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()
        };
        write().map_err(|source| Cause::io("write", &path, source))?;
        sync_folder(staging)
    }
}

/// Makes what was created or renamed in `folder` outlive a power cut.
pub(in crate::compute) fn sync_folder(folder: &Path) -> Result<(), Cause> {
    let synced = File::open(folder).and_then(|file| file.sync_all());
    synced.map_err(|source| Cause::io("sync", folder, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::conformance::spec;

    #[test]
    fn what_is_written_is_private_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::of(&spec("web-1", 1, 1));
        record.write(folder.path()).unwrap();
        assert_eq!(Record::read(folder.path()).unwrap(), record);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &folder.path().join(FILE).metadata().unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn broken_later_and_linked_records_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let later = serde_json::to_string(&Record { version: 2, ..Record::of(&spec("a", 1, 1)) });
        for text in ["", "{", "{\"version\":1}", &later.unwrap()] {
            std::fs::write(&path, text).unwrap();
            assert!(Record::read(folder.path()).is_err(), "{text}");
        }
        let real = folder.path().join("elsewhere");
        std::fs::write(&real, serde_json::to_vec(&Record::of(&spec("a", 1, 1))).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&real, &path).unwrap();
        assert!(Record::read(folder.path()).is_err());
    }
}
