//! The two bounded queues between the streams of a machine and its mesh task.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::Ipv6Addr;
use std::sync::Arc;

use bytes::Bytes;

use crate::mesh::stream::queue::Queue;
use crate::model::identity::NodeId;

/// Addresses remembered so as not to hash a key for each packet.
const ADDRESSES_MAX: usize = 4_096;

/// A packet and the mesh address at its far end.
pub(super) type Packet = (Ipv6Addr, Bytes);

/// Joins a stream endpoint of the machine `local` to its mesh task. Each direction holds at most
/// `capacity` packets.
#[must_use]
pub fn lane(local: NodeId, capacity: usize) -> (Lane, LaneDriver) {
    let outgoing = Arc::new(Queue::new(capacity));
    let incoming = Arc::new(Queue::new(capacity));
    let lane = Lane { local, outgoing: Arc::clone(&outgoing), incoming: Arc::clone(&incoming) };
    (lane, LaneDriver { outgoing, incoming, addresses: BTreeMap::new(), dropped: 0 })
}

/// The streams' end: what a [`StreamEndpoint`](crate::mesh::stream::endpoint::StreamEndpoint) is
/// made with.
#[derive(Debug)]
pub struct Lane {
    pub(super) local: NodeId,
    pub(super) outgoing: Arc<Queue<Packet>>,
    pub(super) incoming: Arc<Queue<Packet>>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.outgoing.close();
        self.incoming.close();
    }
}

/// The mesh task's end. Dropping it ends the endpoint and every connection.
#[derive(Debug)]
pub struct LaneDriver {
    outgoing: Arc<Queue<Packet>>,
    incoming: Arc<Queue<Packet>>,
    addresses: BTreeMap<NodeId, Ipv6Addr>,
    dropped: u64,
}

impl LaneDriver {
    /// The next packet to carry, and the mesh address it is for; none when the endpoint is gone.
    /// Cancelling loses nothing.
    pub async fn outgoing(&mut self) -> Option<(Ipv6Addr, Bytes)> {
        poll_fn(|context| self.outgoing.poll_pop(context)).await
    }

    /// The next packet to carry, if one is there already: a loop that was woken by
    /// [`outgoing`](Self::outgoing) takes the rest of the burst with it.
    pub fn try_outgoing(&mut self) -> Option<(Ipv6Addr, Bytes)> {
        self.outgoing.try_pop()
    }

    /// Hands over a packet that came from `source`. Dropped when the endpoint is behind, as a
    /// network would.
    pub fn incoming(&mut self, source: NodeId, payload: Bytes) {
        if self.addresses.len() >= ADDRESSES_MAX {
            self.addresses.clear();
        }
        let address = *self.addresses.entry(source).or_insert_with(|| source.address());
        if self.incoming.push((address, payload)).is_err() {
            self.dropped += 1;
        }
    }

    /// How many incoming packets were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Drop for LaneDriver {
    fn drop(&mut self) {
        self.outgoing.close();
        self.incoming.close();
    }
}
