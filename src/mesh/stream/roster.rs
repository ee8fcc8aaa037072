//! The connections that are open, by the machine at their other end.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, Shared};
use quinn::{Connection, VarInt};

use crate::mesh::stream::error::StreamError;
use crate::mesh::stream::trust::Trust;
use crate::model::identity::NodeId;

/// Connections one machine may have open towards us. It needs one; after a restart its last one
/// lingers until it times out.
const ACCEPTED_MAX: usize = 4;

/// A dial under way, or what became of it: everybody who asks for the same machine shares it.
pub(super) type Dial = Shared<BoxFuture<'static, Result<Connection, StreamError>>>;

/// Why we close a connection: the code its other end reads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Closing {
    /// The agent stops.
    Shutdown = 0,
    /// The other end is no member.
    Untrusted = 1,
    /// The connection is given up.
    Dropped = 2,
}

pub(super) fn close(connection: &Connection, closing: Closing) {
    let reason: &[u8] = match closing {
        Closing::Shutdown => b"shutdown",
        Closing::Untrusted => b"no member",
        Closing::Dropped => b"dropped",
    };
    connection.close(VarInt::from_u32(closing as u32), reason);
}

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct Roster {
    peers: Mutex<BTreeMap<NodeId, Peer>>,
}

#[derive(Debug, Default)]
struct Peer {
    dial: Option<Dial>,
    accepted: Vec<Connection>,
}

impl Peer {
    /// Forgets what is over.
    fn prune(&mut self) {
        if self.dial.as_ref().is_some_and(|dial| !is_usable(dial)) {
            self.dial = None;
        }
        self.accepted.retain(|connection| connection.close_reason().is_none());
    }

    fn close(&self, closing: Closing) {
        let dialled = self.dial.as_ref().and_then(|dial| dial.peek()?.as_ref().ok());
        for connection in dialled.into_iter().chain(&self.accepted) {
            close(connection, closing);
        }
    }
}

/// Under way, or connected still.
fn is_usable(dial: &Dial) -> bool {
    match dial.peek() {
        None => true,
        Some(Ok(connection)) => connection.close_reason().is_none(),
        Some(Err(_)) => false,
    }
}

impl Roster {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        // Each step under the lock leaves the map sound.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The dial to `node` that is usable; otherwise the one that `begin` makes.
    pub(super) fn dial(&self, node: NodeId, begin: impl FnOnce() -> Dial) -> Dial {
        let mut peers = self.lock();
        let peer = peers.entry(node).or_default();
        match &peer.dial {
            Some(dial) if is_usable(dial) => dial.clone(),
            _ => peer.dial.insert(begin()).clone(),
        }
    }

    /// Enters a connection that `node` opened, unless it is no member any more. Of too many, the
    /// oldest is closed.
    pub(super) fn admit(&self, node: NodeId, connection: &Connection, trust: &dyn Trust) -> bool {
        let mut peers = self.lock();
        // Asked under the lock: whoever loses trust later is found by `drop_untrusted`.
        if !trust.is_trusted(node) {
            return false;
        }
        let peer = peers.entry(node).or_default();
        peer.prune();
        if peer.accepted.len() >= ACCEPTED_MAX {
            close(&peer.accepted.remove(0), Closing::Dropped);
        }
        peer.accepted.push(connection.clone());
        true
    }

    /// Forgets what is over between us and `node`.
    pub(super) fn prune(&self, node: NodeId) {
        let mut peers = self.lock();
        if let Some(peer) = peers.get_mut(&node) {
            peer.prune();
            if peer.dial.is_none() && peer.accepted.is_empty() {
                peers.remove(&node);
            }
        }
    }

    /// Closes every connection with `node`.
    pub(super) fn close_peer(&self, node: NodeId) {
        if let Some(peer) = self.lock().remove(&node) {
            peer.close(Closing::Dropped);
        }
    }

    /// Closes every connection with machines that are no members.
    pub(super) fn drop_untrusted(&self, trust: &dyn Trust) {
        self.lock().retain(|node, peer| {
            let is_trusted = trust.is_trusted(*node);
            if !is_trusted {
                peer.close(Closing::Untrusted);
            }
            is_trusted
        });
    }

    /// Machines with a connection or a dial under way.
    #[cfg(test)]
    pub(super) fn peers(&self) -> usize {
        self.lock().len()
    }
}
