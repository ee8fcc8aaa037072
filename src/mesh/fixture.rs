//! Keys and clusters for tests: the same ones every time.

use std::sync::Mutex;

use crate::model::cluster::ClusterId;
use crate::model::cluster::Genesis;
use crate::model::identity::SecretKey;

static KEYS: Mutex<Vec<SecretKey>> = Mutex::new(Vec::new());

/// The key number `index`. Making one takes milliseconds, so all tests share them.
pub fn key(index: usize) -> SecretKey {
    let mut keys = KEYS.lock().unwrap();
    while keys.len() <= index {
        let mut counter = (keys.len() as u64) << 32;
        keys.push(SecretKey::generate(|seed| {
            counter += 1;
            seed[..8].copy_from_slice(&counter.to_le_bytes());
        }));
    }
    keys[index].clone()
}

/// The cluster number `nonce`.
pub fn cluster(nonce: u64) -> ClusterId {
    Genesis { founder: key(0).node_id(), nonce, name: "test".parse().unwrap() }.cluster_id()
}
