//! Keys and clusters for tests: the same ones every time.

use crate::model::cluster::ClusterId;
use crate::model::cluster::Genesis;
use crate::model::identity::SecretKey;
use crate::model::identity::testing;

/// The key number `index`.
pub fn key(index: usize) -> SecretKey {
    testing::key(index as u64)
}

/// The cluster number `nonce`.
pub fn cluster(nonce: u64) -> ClusterId {
    Genesis { founder: key(0).node_id(), nonce, name: "test".parse().unwrap() }.cluster_id()
}
