//! Whom a machine lets in.

use std::net::Ipv6Addr;

use crate::model::identity::NodeId;

/// The members of the cluster, as streams ask for them: at every dial and every handshake, so that
/// an answer that changes holds at once for whoever comes next.
/// [`drop_untrusted`](crate::mesh::stream::endpoint::StreamEndpoint::drop_untrusted) is for those
/// who came before.
///
/// Asked under locks of the endpoint: an answer must not wait for it, nor call it.
pub trait Trust: Send + Sync {
    /// Whether `node` is a member.
    fn is_trusted(&self, node: NodeId) -> bool;

    /// The member with this mesh address.
    fn node_at(&self, address: Ipv6Addr) -> Option<NodeId>;
}
