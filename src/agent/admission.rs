//! What a newcomer with a ticket says, and what it is told.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::agent::api::Bootstrap;
use crate::model::cluster::ClusterId;
use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::model::identity::Signature;
use crate::model::identity::SigningDomain;
use crate::model::name::Name;

/// A newcomer's request. Sent under the ticket's key, so it also proves its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Knock {
    /// The newcomer's key.
    pub node: NodeId,
    /// The name it asks for.
    pub name: Name,
    /// UDP addresses at which it may be reached.
    pub endpoints: Vec<SocketAddr>,
    /// Its signature over the cluster and the ticket (base32).
    proof: String,
}

/// Why a knock is refused before anything is looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KnockError {
    /// Not JSON of the known shape.
    #[error("the request to enter cannot be read")]
    Malformed,
    /// The newcomer does not hold the key it names.
    #[error("the request to enter is not signed by the key that it names")]
    Forged,
}

/// The member's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnockAnswer {
    /// Come in.
    Admitted(Bootstrap),
    /// Stay out; why.
    Refused(String),
}

impl Knock {
    /// Asks to enter `cluster` with the ticket `invitation`.
    #[must_use]
    pub fn new(
        key: &SecretKey,
        name: Name,
        endpoints: Vec<SocketAddr>,
        cluster: &ClusterId,
        invitation: NodeId,
    ) -> Self {
        let proof = key.sign(SigningDomain::Ticket, &proof_message(cluster, invitation));
        Self { node: key.node_id(), name, endpoints, proof: proof.to_text() }
    }

    /// The request's bytes.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        // Strings and addresses always have a JSON form; an empty request would be refused.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a request and checks that it is signed by the key it names.
    ///
    /// # Errors
    /// As [`KnockError`] says.
    pub fn read(bytes: &[u8], cluster: &ClusterId, invitation: NodeId) -> Result<Self, KnockError> {
        let knock: Self = serde_json::from_slice(bytes).map_err(|_| KnockError::Malformed)?;
        let proof = Signature::from_text(&knock.proof).ok_or(KnockError::Malformed)?;
        if knock.node.verify(SigningDomain::Ticket, &proof_message(cluster, invitation), &proof) {
            Ok(knock)
        } else {
            Err(KnockError::Forged)
        }
    }
}

impl KnockAnswer {
    /// The answer's bytes.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads an answer; none when it cannot be read.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

fn proof_message(cluster: &ClusterId, invitation: NodeId) -> Vec<u8> {
    [b"enter\0".as_slice(), cluster.as_bytes(), invitation.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cluster::Genesis;
    use crate::model::identity::testing::key;

    #[test]
    fn a_newcomer_must_hold_the_key_it_names() {
        let (newcomer, other, ticket) = (key(1), key(2), key(3).node_id());
        let name: Name = "new".parse().unwrap();
        let cluster =
            Genesis { founder: other.node_id(), nonce: 1, name: name.clone() }.cluster_id();
        let knock = Knock::new(&newcomer, name, Vec::new(), &cluster, ticket);
        assert_eq!(Knock::read(&knock.write(), &cluster, ticket).unwrap(), knock);
        assert_eq!(Knock::read(&knock.write(), &cluster, other.node_id()), Err(KnockError::Forged));
        let stolen = Knock { node: other.node_id(), ..knock };
        assert_eq!(Knock::read(&stolen.write(), &cluster, ticket), Err(KnockError::Forged));
    }

    #[test]
    fn any_bytes_can_knock() {
        let cluster = Genesis { founder: key(1).node_id(), nonce: 1, name: "a".parse().unwrap() }
            .cluster_id();
        let ticket = key(3).node_id();
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let _ = Knock::read(bytes, &cluster, ticket);
            let _ = KnockAnswer::read(bytes);
        });
    }
}
