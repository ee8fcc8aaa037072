//! Proof that whoever names a key holds it: a challenge of the asker, signed by that key.

use serde::{Deserialize, Serialize};

use crate::model::cluster::ClusterId;
use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::model::identity::Signature;
use crate::model::identity::SigningDomain;

/// What is to be signed: drawn anew for every machine, so that no answer serves twice, and bound to
/// the cluster, so that an answer opens no other one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The cluster to enter.
    cluster: ClusterId,
    /// What the asker drew.
    nonce: String,
}

impl Challenge {
    /// A challenge for one machine, from 32 random bytes.
    #[must_use]
    pub fn new(cluster: ClusterId, random: &[u8; 32]) -> Self {
        Self { cluster, nonce: data_encoding::BASE32_NOPAD.encode(random) }
    }

    /// The proof that `key` is held here.
    #[must_use]
    pub fn answer(&self, key: &SecretKey) -> String {
        key.sign(SigningDomain::Possession, &self.message()).to_text()
    }

    /// Whether `proof` was made for this challenge by the key `node`.
    #[must_use]
    pub fn is_met(&self, node: NodeId, proof: &str) -> bool {
        Signature::from_text(proof)
            .is_some_and(|proof| node.verify(SigningDomain::Possession, &self.message(), &proof))
    }

    fn message(&self) -> Vec<u8> {
        [b"slave\0".as_slice(), self.cluster.as_bytes(), self.nonce.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::testing::key;

    #[test]
    fn only_the_key_itself_meets_a_challenge_and_only_this_one() {
        let cluster = |nonce| ClusterId::derive(nonce, &"a".parse().unwrap());
        let challenge = Challenge::new(cluster(1), &[1; 32]);
        let (holder, other) = (key(1), key(2));
        let proof = challenge.answer(&holder);
        assert!(challenge.is_met(holder.node_id(), &proof));
        assert!(!challenge.is_met(other.node_id(), &proof), "another key's proof");
        for strange in [Challenge::new(cluster(2), &[1; 32]), Challenge::new(cluster(1), &[2; 32])]
        {
            assert!(!strange.is_met(holder.node_id(), &proof), "an answer served twice");
        }
        for nonsense in ["", "A", "====", &"A".repeat(103)] {
            assert!(!challenge.is_met(holder.node_id(), nonsense));
        }
        let text = serde_json::to_string(&challenge).unwrap();
        assert_eq!(serde_json::from_str::<Challenge>(&text).unwrap(), challenge);
    }
}
