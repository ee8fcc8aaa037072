//! Whom this agent speaks to: the members of the document, as the handshakes of streams ask.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::PoisonError;
use std::sync::RwLock;

use crate::mesh::stream::trust::Trust;
use crate::model::identity::NodeId;
use crate::model::member::Role;

/// The members, shared between the event loop (which writes) and handshakes (which read).
#[derive(Debug, Default)]
pub struct Directory {
    members: RwLock<Members>,
}

#[derive(Debug, Default)]
struct Members {
    roles: BTreeMap<NodeId, Role>,
    addresses: BTreeMap<Ipv6Addr, NodeId>,
}

impl Directory {
    /// Replaces everything.
    pub fn replace(&self, roles: BTreeMap<NodeId, Role>) {
        let addresses = roles.keys().map(|node| (node.address(), *node)).collect();
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        *members = Members { roles, addresses };
    }

    /// The members' addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<Ipv6Addr> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.addresses.keys().copied().collect()
    }

    /// What `node` may do; none for a stranger.
    #[must_use]
    pub fn role(&self, node: NodeId) -> Option<Role> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.roles.get(&node).copied()
    }
}

impl Trust for Directory {
    fn is_trusted(&self, node: NodeId) -> bool {
        self.role(node).is_some()
    }

    fn node_at(&self, address: Ipv6Addr) -> Option<NodeId> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.addresses.get(&address).copied()
    }
}
