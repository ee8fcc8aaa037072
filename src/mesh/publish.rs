//! Between the mesh and its plane: keys and endpoints one way, what happened the other.

use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::mesh::core::Mesh;
use crate::mesh::plane::event::PlaneEvent;
use crate::mesh::plane::table::Outbound;
use crate::mesh::schedule::Timer;
use crate::mesh::wire::DATAGRAM_LENGTH_MAX;
use crate::model::time::Moment;

impl Mesh {
    /// Tells the plane how a neighbour is spoken to and heard. To be called after every change of
    /// its sessions, its endpoint, or of whether the link lives.
    pub(super) fn publish_link(&self, peer: Ipv6Addr) {
        let Some(link) = self.links.get(&peer) else {
            self.plane.set_link(peer, None, []);
            return;
        };
        let outbound = link.live.as_ref().zip(link.sessions.current.as_ref());
        let outbound = outbound.map(|(live, session)| Outbound {
            keys: Arc::clone(&session.hop.sender),
            endpoint: live.endpoint,
            datagram_max: DATAGRAM_LENGTH_MAX,
            traffic: Arc::clone(&live.traffic),
        });
        let inbound = link.sessions.iter().map(|session| Arc::clone(&session.hop.receiver));
        self.plane.set_link(peer, outbound, inbound);
    }

    /// Deals with what happened to carried datagrams. Whoever moves them besides the mesh itself
    /// has it called when [`Plane::has_events`](crate::mesh::plane::table::Plane::has_events).
    pub fn handle_plane_events(&mut self, now: Moment) {
        for event in self.plane.take_events() {
            match event {
                PlaneEvent::SessionWanted(peer) => self.want_session(now, peer),
                PlaneEvent::SessionUsed { peer, index } => self.session_used(now, peer, index),
                PlaneEvent::SessionUnknown { peer, neighbour } => {
                    self.session_unknown(now, peer, neighbour);
                }
                PlaneEvent::LinkUsed { peer, index, source } => {
                    self.link_used(now, peer, index, source);
                }
                PlaneEvent::LinkMoved { peer, index, source } => {
                    self.link_moved(peer, index, source);
                }
                PlaneEvent::LinkLoaded(peer) => self.expect_proof(now, peer),
                PlaneEvent::LinkWorn(peer) => self.schedule.set_by(Timer::Link(peer), now),
            }
        }
    }

    /// Takes note that packets go over the link to `peer`: it is proved to work soon, unless it was
    /// lately.
    pub(super) fn expect_proof(&mut self, now: Moment, peer: Ipv6Addr) {
        let live = self.links.get_mut(&peer).and_then(|link| link.live.as_mut());
        if let Some(live) = live
            && live.quality.used(now)
        {
            self.schedule.set_by(Timer::Link(peer), live.ping_due(&self.settings));
        }
    }

    fn link_used(&mut self, now: Moment, peer: Ipv6Addr, index: u32, source: SocketAddr) {
        if self.links.get(&peer).is_some_and(|link| link.sessions.is_next(index)) {
            self.promote(now, peer, source);
            self.ping(now, peer);
            self.reschedule(now, peer);
        }
    }

    fn link_moved(&mut self, peer: Ipv6Addr, index: u32, source: SocketAddr) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        let current = link.sessions.current.as_ref();
        if current.is_some_and(|session| session.local_index == index)
            && let Some(live) = &mut link.live
        {
            live.endpoint = source;
            link.last_endpoint = Some(source);
            self.publish_link(peer);
        }
    }
}
