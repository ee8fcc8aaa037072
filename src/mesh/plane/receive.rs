//! One carried datagram: authenticated, then opened here or handed on.

use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::mesh::plane::event::PlaneEvent;
use crate::mesh::plane::header::Header;
use crate::mesh::plane::header::InnerProtocol;
use crate::mesh::plane::header::is_carried;
use crate::mesh::plane::header::write_ttl;
use crate::mesh::plane::table::Plane;
use crate::mesh::plane::table::Tables;
use crate::model::time::Moment;

/// What became of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// For this machine; authentic from end to end, and fresh.
    Deliver {
        /// The member that sent it.
        source: Ipv6Addr,
        /// What it is for.
        protocol: InnerProtocol,
        /// The payload.
        payload: &'a mut [u8],
    },
    /// Rewritten in place for the next hop: send it as it lies.
    Forward {
        /// The next hop.
        destination: SocketAddr,
    },
    /// Of another kind: hand it to the mesh.
    Control,
    /// Forged, repeated, for nobody reachable, or nothing to anybody.
    Drop,
}

impl Plane {
    /// Authenticates one datagram and opens it, or makes it ready for the next hop, in place.
    pub fn receive<'a>(
        &self,
        now: Moment,
        source: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Verdict<'a> {
        if !is_carried(datagram) {
            return Verdict::Control;
        }
        let Some(header) = Header::read(datagram) else { return Verdict::Drop };
        let tables = self.read();
        let Some(peer) = self.check(&tables, now, source, &header, datagram) else {
            return Verdict::Drop;
        };
        if header.destination != self.own {
            return self.pass_on(&tables, peer, &header, datagram);
        }
        let Some(session) = tables.opening.get(&header.session) else {
            drop(tables);
            self.push(PlaneEvent::SessionUnknown { peer: header.source, neighbour: peer });
            return Verdict::Drop;
        };
        if session.peer != header.source || header.source == self.own {
            return Verdict::Drop;
        }
        let session = Arc::clone(session);
        drop(tables);
        let Some(opened) = session.open(header.session_counter, datagram) else {
            return Verdict::Drop;
        };
        if opened.first {
            let (peer, index) = (session.peer, session.local_index);
            self.push(PlaneEvent::SessionUsed { peer, index });
        }
        match opened.protocol {
            None | Some(InnerProtocol::Nothing) => Verdict::Drop,
            Some(protocol) => {
                Verdict::Deliver { source: session.peer, protocol, payload: opened.payload }
            }
        }
    }

    /// Authenticates the hop. Returns the neighbour.
    fn check(
        &self,
        tables: &Tables,
        now: Moment,
        source: SocketAddr,
        header: &Header,
        datagram: &[u8],
    ) -> Option<Ipv6Addr> {
        let inbound = tables.inbound.get(&header.receiver)?;
        let checked = inbound.keys.check(header.counter, datagram)?;
        let (peer, index) = (inbound.peer, header.receiver);
        if checked.first {
            self.push(PlaneEvent::LinkUsed { peer, index, source });
        }
        if let Some(outbound) = tables.outbound(peer) {
            outbound.traffic.received(now, datagram.len(), checked.advance);
            if checked.newest && outbound.endpoint != source {
                self.push(PlaneEvent::LinkMoved { peer, index, source });
            }
        }
        Some(peer)
    }

    fn pass_on<'a>(
        &self,
        tables: &Tables,
        came_from: Ipv6Addr,
        header: &Header,
        datagram: &mut [u8],
    ) -> Verdict<'a> {
        if header.ttl <= 1 || header.source == self.own {
            return Verdict::Drop;
        }
        // Only while members disagree about the links can the way lead back.
        let hop = tables.first_hop(header.destination).filter(|(hop, _)| *hop != came_from);
        let Some((peer, outbound)) = hop else { return Verdict::Drop };
        write_ttl(datagram, header.ttl - 1);
        if outbound.keys.sign(datagram).is_none() {
            return Verdict::Drop;
        }
        if outbound.keys.is_worn() {
            self.push(PlaneEvent::LinkWorn(peer));
        }
        if outbound.traffic.load() {
            self.push(PlaneEvent::LinkLoaded(peer));
        }
        outbound.traffic.sent(datagram.len());
        Verdict::Forward { destination: outbound.endpoint }
    }
}
