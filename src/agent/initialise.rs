//! Making a folder the home of a machine: its key, its name, its cluster.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::agent::BUILD;
use crate::agent::api::Bootstrap;
use crate::agent::clock;
use crate::agent::clock::RandomError;
use crate::agent::clock::wall_clock;
use crate::agent::error::chain;
use crate::agent::lock::LockError;
use crate::agent::lock::StateLock;
use crate::agent::machine_file::FoundRequest;
use crate::agent::machine_file::InitRequest;
use crate::agent::machine_file::MACHINE_FILE_VERSION;
use crate::agent::machine_file::MachineFile;
use crate::config::change::Change;
use crate::config::document::Document;
use crate::config::document::views::MEMBERS;
use crate::config::document::views::RECOVERY;
use crate::config::files::FileError;
use crate::config::files::create_folder;
use crate::config::files::write_atomic;
use crate::config::home::Home;
use crate::config::identity_file;
use crate::config::identity_file::IdentityFileError;
use crate::config::path::Path;
use crate::config::store::DocumentStore;
use crate::config::store::Opened;
use crate::config::store::StoreError;
use crate::mesh::interfaces;
use crate::model::cluster::ClusterId;
use crate::model::cluster::Genesis;
use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::model::member::Role;
use crate::model::name::Name;
use crate::model::time::Timestamp;

/// What `agent init` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitReply {
    /// The machine's key.
    pub node_id: NodeId,
    /// Its mesh address.
    pub address: std::net::Ipv6Addr,
    /// The cluster it belongs to already.
    pub cluster_id: Option<ClusterId>,
    /// That cluster's first moment.
    pub genesis: Option<Genesis>,
    /// UDP addresses at which it will answer, when its port is settled.
    #[serde(default)]
    pub endpoints: Vec<SocketAddr>,
    /// Version of the build.
    pub build: String,
    /// The answer to the request's challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// Why a home cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// A file or folder cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The key file is unusable.
    #[error(transparent)]
    Identity(#[from] IdentityFileError),
    /// The document's store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An agent runs here.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// No randomness for a key.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// `agent.json` is not what it should be.
    #[error("{path} cannot be read: {why}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// There is no machine in this home yet.
    #[error("{home} is no machine's home yet")]
    NotInitialised {
        /// The home.
        home: String,
    },
    /// The machine belongs to another cluster.
    #[error("this machine belongs to cluster {name} ({id}) already")]
    OtherCluster {
        /// That cluster's name.
        name: Name,
        /// Its id.
        id: ClusterId,
    },
    /// The first update of a new cluster could not be written.
    #[error("the cluster could not be founded: {0}")]
    Found(String),
}

/// Reads the machine's key and file.
///
/// # Errors
/// [`HomeError::NotInitialised`] when either is missing.
pub fn load(home: &Home) -> Result<(SecretKey, MachineFile), HomeError> {
    let missing = || HomeError::NotInitialised { home: home.root().display().to_string() };
    let key = identity_file::load(&home.identity_file())?.ok_or_else(missing)?;
    let file = load_machine_file(home)?.ok_or_else(missing)?;
    Ok((key, file))
}

/// Writes the machine's file, whole or not at all.
///
/// # Errors
/// As [`HomeError`] says.
pub fn save_machine_file(home: &Home, file: &MachineFile) -> Result<(), HomeError> {
    let text = serde_json::to_vec_pretty(file).map_err(|error| malformed(home, &error))?;
    Ok(write_atomic(&home.machine_file(), &text)?)
}

fn load_machine_file(home: &Home) -> Result<Option<MachineFile>, HomeError> {
    /// Larger than any sound file.
    const SIZE_MAX: u64 = 1024 * 1024;
    let path = home.machine_file();
    if !path.exists() {
        return Ok(None);
    }
    let text = crate::config::files::read_bounded(&path, SIZE_MAX)?;
    serde_json::from_slice(&text).map(Some).map_err(|error| malformed(home, &error))
}

fn malformed(home: &Home, error: &serde_json::Error) -> HomeError {
    HomeError::Malformed { path: home.machine_file().display().to_string(), why: error.to_string() }
}

/// Makes `home` a machine's home; founds a cluster when asked to. Again with the same request: the
/// same answer, the same key.
///
/// # Errors
/// As [`HomeError`] says.
pub fn initialise(home: &Home, request: &InitRequest) -> Result<InitReply, HomeError> {
    create_folder(&home.agent_folder())?;
    let _lock = match StateLock::acquire(&home.lock_file()) {
        Ok(lock) => lock,
        Err(held @ LockError::Held { .. }) => {
            return unchanged(home, request)?.ok_or_else(|| held.into());
        }
        Err(error) => return Err(error.into()),
    };
    let mut seeds = clock::random::<32>().map(SeedStream)?;
    let key = identity_file::load_or_create(&home.identity_file(), |seed| {
        *seed = seeds.next_seed();
    })?;
    let known = load_machine_file(home)?;
    let mut file = machine_file(request, known);
    if let Some(found) = &request.found {
        let is_other = |genesis: &Genesis| !is_founded_by(genesis, found);
        if request.force && file.genesis.as_ref().is_some_and(is_other) {
            remove_document(home)?;
            file = MachineFile { genesis: None, peers: Vec::new(), joined_at: None, ..file };
        }
        match &file.genesis {
            Some(genesis) if is_other(genesis) => return Err(other_cluster(genesis)),
            Some(_) => {}
            None => {
                let genesis = found_cluster(home, &key, &file, found)?;
                file.genesis = Some(genesis);
                file.joined_at = Some(wall_clock());
            }
        }
    }
    save_machine_file(home, &file)?;
    Ok(reply(&key, &file).proving(&key, request))
}

/// The answer of a machine whose agent runs, when it is already all that is asked for.
fn unchanged(home: &Home, request: &InitRequest) -> Result<Option<InitReply>, HomeError> {
    let (key, known) = match load(home) {
        Err(HomeError::NotInitialised { .. }) => return Ok(None),
        other => other?,
    };
    match (&known.genesis, &request.found) {
        // It is only just being made, by somebody else.
        (None, _) => return Ok(None),
        (Some(genesis), Some(found)) if !is_founded_by(genesis, found) => {
            return if request.force { Ok(None) } else { Err(other_cluster(genesis)) };
        }
        _ => {}
    }
    let is_same = machine_file(request, Some(known.clone())) == known;
    Ok(is_same.then(|| reply(&key, &known).proving(&key, request)))
}

fn is_founded_by(genesis: &Genesis, found: &FoundRequest) -> bool {
    genesis.name == found.cluster && genesis.nonce == found.nonce
}

/// What the file will say: what is asked for, and what only the machine itself knows.
fn machine_file(request: &InitRequest, known: Option<MachineFile>) -> MachineFile {
    MachineFile {
        version: MACHINE_FILE_VERSION,
        description: request.description.clone(),
        chosen_port: known.as_ref().and_then(|file| file.chosen_port),
        genesis: known.as_ref().and_then(|file| file.genesis.clone()),
        peers: known.as_ref().map(|file| file.peers.clone()).unwrap_or_default(),
        joined_at: known.as_ref().and_then(|file| file.joined_at),
        evicted: known.as_ref().is_some_and(|file| file.evicted),
        rest: known.map(|file| file.rest).unwrap_or_default(),
    }
}

fn reply(key: &SecretKey, file: &MachineFile) -> InitReply {
    let node_id = key.node_id();
    InitReply {
        node_id,
        address: node_id.address(),
        cluster_id: file.genesis.as_ref().map(Genesis::cluster_id),
        genesis: file.genesis.clone(),
        endpoints: endpoints(file),
        build: BUILD.to_owned(),
        proof: None,
    }
}

impl InitReply {
    /// Proves that this machine holds the key, when it is asked to.
    fn proving(self, key: &SecretKey, request: &InitRequest) -> Self {
        Self { proof: request.challenge.as_ref().map(|challenge| challenge.answer(key)), ..self }
    }
}

/// Where the agent will answer; nothing while its port is left to the system.
fn endpoints(file: &MachineFile) -> Vec<SocketAddr> {
    let listen = file.description.listen.filter(|listen| listen.port() != 0);
    // Left out where the system does not tell its addresses: the agent observes them later.
    listen.and_then(|listen| interfaces::local_endpoints(listen).ok()).unwrap_or_default()
}

fn other_cluster(genesis: &Genesis) -> HomeError {
    HomeError::OtherCluster { name: genesis.name.clone(), id: genesis.cluster_id() }
}

/// Secret seeds from one draw of the system's randomness: SHA-512 in counter mode, so that the
/// search for a key whose address fits asks the system once.
struct SeedStream([u8; 32]);

impl SeedStream {
    fn next_seed(&mut self) -> [u8; 32] {
        use sha2::Digest;
        let digest = sha2::Sha512::digest(self.0);
        let (seed, state) = digest.split_at(32);
        self.0.copy_from_slice(state);
        let mut out = [0u8; 32];
        out.copy_from_slice(seed);
        out
    }
}

impl Drop for SeedStream {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// Writes the first update of a new document: the cluster, and its founder as its first member.
fn found_cluster(
    home: &Home,
    key: &SecretKey,
    file: &MachineFile,
    found: &FoundRequest,
) -> Result<Genesis, HomeError> {
    let cluster = &found.cluster;
    let genesis = Genesis { founder: key.node_id(), nonce: found.nonce, name: cluster.clone() };
    let now = wall_clock();
    let Opened { mut store, mut document, .. } =
        open_document(home, &genesis, u64::from_le_bytes(clock::random()?))?;
    let changes = first_changes(key, file, &genesis, found.recovery.as_deref(), now);
    let blob = document
        .write(key, now, &format!("found cluster {cluster}"), &changes)
        .map_err(|error| HomeError::Found(chain(&error)))?;
    store.append_all(&blob.into_iter().collect::<Vec<_>>())?;
    Ok(genesis)
}

/// Opens the machine's document, empty when there is none yet. `epoch` is drawn for this run.
///
/// # Errors
/// As [`StoreError`] says.
pub fn open_document(home: &Home, genesis: &Genesis, epoch: u64) -> Result<Opened, StoreError> {
    let folder = home.document_folder();
    if DocumentStore::exists(&folder) {
        return DocumentStore::open(&folder, epoch);
    }
    let document = Document::new(genesis.clone(), epoch);
    let store = DocumentStore::create(&folder, &document)?;
    Ok(Opened { store, document, notes: Vec::new() })
}

fn remove_document(home: &Home) -> Result<(), HomeError> {
    let folder = home.document_folder();
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::new("remove", &folder)(error).into())
        }
        _ => Ok(()),
    }
}

fn first_changes(
    key: &SecretKey,
    file: &MachineFile,
    genesis: &Genesis,
    recovery: Option<&str>,
    now: Timestamp,
) -> Vec<Change> {
    let set = |path: Path, value| Change::Set { path, value };
    let root = Path::root;
    let member = json!({
        "name": file.description.name,
        "role": Role::Full,
        "endpoints": endpoints(file),
        "added_at": now,
        "added_by": key.node_id(),
    });
    let cluster = json!({
        "id": genesis.cluster_id(),
        "name": genesis.name,
        "created_at": now,
    });
    let recovery =
        recovery.map(|public| set(root().join(RECOVERY).join(public), json!({ "added_at": now })));
    let first = [
        set(root().join("version"), json!(1)),
        set(root().join("cluster"), cluster),
        set(root().join(MEMBERS).join(key.node_id().to_string()), member),
    ];
    first.into_iter().chain(recovery).collect()
}

/// Tells the machine which cluster it belongs to and whom to call. Again: harmless.
///
/// # Errors
/// [`HomeError::OtherCluster`] when it belongs to another one, unless `force`, which forgets that.
pub fn adopt(home: &Home, bootstrap: &Bootstrap, force: bool) -> Result<InitReply, HomeError> {
    let lock = StateLock::acquire(&home.lock_file());
    let (key, mut file) = load(home)?;
    if matches!(lock, Err(LockError::Held { .. })) {
        // Its agent runs; it knows the members better than an invitation does.
        let same = file.genesis.as_ref() == Some(&bootstrap.genesis);
        if same && !file.evicted {
            return Ok(reply(&key, &file));
        }
    }
    let _lock = lock?;
    match &file.genesis {
        Some(genesis) if *genesis != bootstrap.genesis => {
            if !force {
                return Err(other_cluster(genesis));
            }
            remove_document(home)?;
            file.joined_at = None;
        }
        // Its own document still says that it was put out; the members have the later one.
        Some(_) if file.evicted => {
            remove_document(home)?;
            file.joined_at = None;
        }
        _ => {}
    }
    file.genesis = Some(bootstrap.genesis.clone());
    file.description.name = bootstrap.name.clone();
    file.peers.clone_from(&bootstrap.peers);
    file.evicted = false;
    file.joined_at = file.joined_at.or_else(|| Some(wall_clock()));
    save_machine_file(home, &file)?;
    Ok(reply(&key, &file))
}

#[cfg(test)]
mod tests;
