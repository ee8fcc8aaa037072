//! Sealing what goes out.

use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::mesh::plane::event::PlaneEvent;
use crate::mesh::plane::header;
use crate::mesh::plane::header::InnerProtocol;
use crate::mesh::plane::header::OVERHEAD;
use crate::mesh::plane::session::EndSession;
use crate::mesh::plane::table::Outbound;
use crate::mesh::plane::table::Plane;
use crate::mesh::wire::DATAGRAM_LENGTH_MAX;
use crate::model::time::Moment;

/// The side that did not begin a session waits a twelfth longer before it replaces it, so that
/// mostly one side begins.
const GRACE_SHARE: u32 = 12;

/// What carries payloads to one destination. To be held for one batch only.
pub struct Sender {
    own: Ipv6Addr,
    session: Arc<EndSession>,
    hop: Outbound,
}

impl Plane {
    /// What may carry payloads to `destination` at this moment. None: there is no route or no
    /// session; the mesh is told to begin one, the caller queues or drops.
    #[must_use]
    pub fn sender(&self, now: Moment, destination: Ipv6Addr) -> Option<Sender> {
        let tables = self.read();
        let session = tables.sealing(destination).cloned();
        let hop = tables.first_hop(destination).map(|(peer, outbound)| (peer, outbound.clone()));
        drop(tables);
        let hop = hop.map(|(peer, mut outbound)| {
            if peer != destination {
                // What the links of others take is not known here.
                outbound.datagram_max = outbound.datagram_max.min(DATAGRAM_LENGTH_MAX);
            }
            (peer, outbound)
        });
        let age = session.as_ref().map(|session| now.since(session.created_at));
        let usable = age.is_some_and(|age| age < self.reject_after);
        let aged = session.as_ref().is_none_or(|session| {
            let grace = u32::from(!session.initiator);
            let rekey_after = self.rekey_after + self.rekey_after / GRACE_SHARE * grace;
            now.since(session.created_at) >= rekey_after || session.is_worn()
        });
        if aged && destination != self.own {
            self.push(PlaneEvent::SessionWanted(destination));
        }
        let session = session.filter(|_| usable)?;
        let (peer, hop) = hop?;
        if hop.keys.is_worn() {
            self.push(PlaneEvent::LinkWorn(peer));
        }
        if hop.traffic.load() {
            self.push(PlaneEvent::LinkLoaded(peer));
        }
        Some(Sender { own: self.own, session, hop })
    }
}

impl Sender {
    /// Free bytes before the payload in a datagram.
    pub const HEADROOM: usize = header::HEADROOM;
    /// Free bytes after it.
    pub const TAILROOM: usize = header::TAILROOM;

    /// Where datagrams go.
    #[must_use]
    pub fn endpoint(&self) -> SocketAddr {
        self.hop.endpoint
    }

    /// Longest payload that fits a datagram of the first hop, in bytes.
    #[must_use]
    pub fn payload_max(&self) -> usize {
        self.hop.datagram_max.saturating_sub(OVERHEAD)
    }

    /// Seals `datagram`: [`Self::HEADROOM`] free bytes, the payload, [`Self::TAILROOM`] free
    /// bytes. None once a key is used up, or when there is no room.
    pub fn seal(&self, protocol: InnerProtocol, datagram: &mut [u8]) -> Option<()> {
        self.session.seal(self.own, protocol, datagram)?;
        self.hop.keys.sign(datagram)?;
        self.hop.traffic.sent(datagram.len());
        Some(())
    }
}
