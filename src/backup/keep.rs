//! Keeping backups: written, read back, listed, the oldest taken away.
//!
//! Some places cannot list what they hold. So each has an index, `raptor.index.json`, of what was
//! written there, the latest first. It only tells names: archives prove themselves.

use serde::{Deserialize, Serialize};

use crate::backup::archive::Head;
use crate::backup::error::StoreError;
use crate::backup::store::ENDING;
use crate::backup::store::Target;
use crate::model::cluster::ClusterId;
use crate::model::name::Name;
use crate::model::time::Timestamp;

/// Largest archive, in bytes.
pub const ARCHIVE_SIZE_MAX: u64 = 1024 * 1024 * 1024;

const INDEX: &str = "raptor.index.json";
const INDEX_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Index {
    version: u32,
    #[serde(default)]
    archives: Vec<Entry>,
}

/// One archive of a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name there.
    pub name: String,
    /// The cluster's name.
    pub cluster: Name,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// The archive's name there.
    pub name: String,
    /// Its size in bytes.
    pub bytes: usize,
    /// Older ones that were taken away.
    pub removed: Vec<String>,
}

/// Writes `archive` to `target`, reads it back, and keeps the latest `keep` of its cluster.
///
/// # Errors
/// As [`StoreError`] says. When only taking older ones away failed, the archive is there.
pub async fn write(
    target: &Target,
    head: &Head,
    archive: &[u8],
    keep: u32,
) -> Result<Written, StoreError> {
    let store = target.store.as_ref();
    let name = target.file.clone().unwrap_or_else(|| name_of(head));
    store.put(&name, archive).await?;
    let step = format!("check {name}");
    let fail = |why: &str| StoreError::new(&target.title, &step, why);
    match store.get(&name).await? {
        Some(found) if found == archive => {}
        Some(_) => return Err(fail("what is read there is not what was written")),
        None => return Err(fail("it is not there")),
    }
    let mut written = Written { name: name.clone(), bytes: archive.len(), removed: Vec::new() };
    if target.file.is_some() {
        return Ok(written);
    }
    let mut index = read_index(target).await?;
    let entry = Entry {
        name,
        cluster: head.cluster.clone(),
        cluster_id: head.cluster_id,
        created_at: head.created_at,
    };
    index.archives.retain(|known| known.name != entry.name);
    index.archives.push(entry);
    index
        .archives
        .sort_by(|left, right| (right.created_at, &right.name).cmp(&(left.created_at, &left.name)));
    let mut kept = 0;
    let keep = usize::try_from(keep.max(1)).unwrap_or(usize::MAX);
    index.archives.retain(|entry| {
        let is_ours = entry.cluster_id == head.cluster_id;
        kept += usize::from(is_ours);
        let stays = !is_ours || kept <= keep;
        if !stays {
            written.removed.push(entry.name.clone());
        }
        stays
    });
    let text = serde_json::to_vec_pretty(&index)
        .map_err(|error| StoreError::new(&target.title, "list it", error.to_string()))?;
    // What is listed is there: an archive leaves the list before it goes.
    store.put(INDEX, &text).await?;
    for name in &written.removed {
        store.delete(name).await?;
    }
    Ok(written)
}

/// The archive that `target` means: the one it names, else the latest (of `cluster`).
///
/// # Errors
/// There is none, there are several clusters', or the place fails.
pub async fn read(
    target: &Target,
    cluster: Option<&Name>,
) -> Result<(String, Vec<u8>), StoreError> {
    let fail = |why: String| StoreError::new(&target.title, "find a backup", why);
    let name = if let Some(name) = &target.file {
        name.clone()
    } else {
        let mut found = read_index(target).await?.archives;
        found.retain(|entry| cluster.is_none_or(|cluster| entry.cluster == *cluster));
        let latest = found.first().ok_or_else(|| {
            fail(format!("none is listed there; one is named as {}/NAME{ENDING}", target.title))
        })?;
        if let Some(other) = found.iter().find(|entry| entry.cluster_id != latest.cluster_id) {
            let (one, two) = (&latest.name, &other.name);
            return Err(fail(format!(
                "it holds those of several clusters ({one}, {two}): name one"
            )));
        }
        latest.name.clone()
    };
    match target.store.get(&name).await? {
        Some(bytes) => Ok((name, bytes)),
        None => Err(fail(format!("there is no {name}"))),
    }
}

async fn read_index(target: &Target) -> Result<Index, StoreError> {
    let Some(text) = target.store.get(INDEX).await? else {
        return Ok(Index { version: INDEX_VERSION, archives: Vec::new() });
    };
    let fail = |why: String| StoreError::new(&target.title, format!("read {INDEX}"), why);
    let mut index: Index =
        serde_json::from_slice(&text).map_err(|error| fail(error.to_string()))?;
    if index.version != INDEX_VERSION {
        return Err(fail(format!("it has version {}", index.version)));
    }
    // Names lead nowhere else.
    let is_name = |name: &str| {
        name.ends_with(ENDING)
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    index.archives.retain(|entry| is_name(&entry.name));
    Ok(index)
}

/// `default-20261121T180000.123Z.raptor`
fn name_of(head: &Head) -> String {
    let time: String =
        head.created_at.to_string().chars().filter(|letter| !"-:".contains(*letter)).collect();
    format!("{}-{time}{ENDING}", head.cluster)
}
