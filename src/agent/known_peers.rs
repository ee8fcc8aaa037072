//! `agent/peers.json`: where the other members were last. Addresses live in facts, and facts in
//! memory: without this file a cluster whose agents all ended at once would not find itself again.

use serde::{Deserialize, Serialize};

use crate::agent::api::BootstrapPeer;
use crate::config::files::FileError;
use crate::config::files::read_bounded;
use crate::config::files::write_atomic;
use crate::config::home::Home;

/// Version of the file's format.
const VERSION: u32 = 1;

/// Members that are remembered: more than enough for some of them to be where they were.
pub const PEERS_MAX: usize = 1_000;

/// Larger than any sound file.
const SIZE_MAX: u64 = 4 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct PeersFile {
    version: u32,
    peers: Vec<BootstrapPeer>,
}

/// Reads what was remembered. Nothing depends on the file: one that is absent, damaged or of a
/// later version remembers nobody.
#[must_use]
pub fn load(home: &Home) -> Vec<BootstrapPeer> {
    let path = home.peers_file();
    if !path.exists() {
        return Vec::new();
    }
    let read = read_bounded(&path, SIZE_MAX).ok();
    let file = read.and_then(|text| serde_json::from_slice::<PeersFile>(&text).ok());
    let Some(mut file) = file.filter(|file| file.version == VERSION) else {
        tracing::warn!(path = %path.display(), "passed over: it cannot be read");
        return Vec::new();
    };
    file.peers.truncate(PEERS_MAX);
    file.peers
}

/// Writes the file, whole or not at all.
///
/// # Errors
/// As [`FileError`] says.
pub fn save(home: &Home, peers: Vec<BootstrapPeer>) -> Result<(), FileError> {
    // Ids and addresses always have a JSON form; an empty file would be passed over.
    let file = PeersFile { version: VERSION, peers };
    write_atomic(&home.peers_file(), &serde_json::to_vec(&file).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_damage_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path());
        std::fs::create_dir(home.agent_folder()).unwrap();
        assert!(load(&home).is_empty());
        let mut counter = 0u64;
        let key = crate::model::identity::SecretKey::generate(|seed| {
            counter += 1;
            seed[..8].copy_from_slice(&counter.to_le_bytes());
        });
        let endpoints = vec!["192.0.2.1:4863".parse().unwrap()];
        let peers = vec![BootstrapPeer { id: key.node_id(), endpoints }];
        save(&home, peers.clone()).unwrap();
        assert_eq!(load(&home), peers);
        for damaged in ["", "{", r#"{"version":2,"peers":[]}"#] {
            std::fs::write(home.peers_file(), damaged).unwrap();
            assert!(load(&home).is_empty(), "{damaged}");
        }
    }
}
