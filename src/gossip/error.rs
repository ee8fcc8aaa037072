//! Why an exchange is refused.

use crate::model::identity::NodeId;

/// What is wrong with the other side's half of an exchange. Nothing of it was believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GossipError {
    /// The document does not name the other side.
    #[error("{0:?} is not a member")]
    NotAMember(NodeId),
    /// Larger than an exchange may be.
    #[error("an exchange of {size} bytes from {node:?}; at most {limit} are accepted")]
    TooLarge {
        /// Who sent it.
        node: NodeId,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A later build's format.
    #[error("{node:?} speaks version {version} of the exchange, which this build does not know")]
    Version {
        /// Who sent it.
        node: NodeId,
        /// The version it named.
        version: u8,
    },
    /// Bytes that say nothing.
    #[error("the exchange from {0:?} cannot be read")]
    Malformed(NodeId),
}
