//! What the network does to a mesh. Nothing here is believed before it is authenticated.

use std::net::Ipv6Addr;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::mesh::core::IndexOwner;
use crate::mesh::core::Mesh;
use crate::mesh::core::canonical;
use crate::mesh::echo::PROTOCOL_ECHO;
use crate::mesh::handshake::Accepted;
use crate::mesh::handshake::Purpose;
use crate::mesh::output::Output;
use crate::mesh::output::Protocol;
use crate::mesh::plane::header::InnerProtocol;
use crate::mesh::plane::receive::Verdict;
use crate::mesh::quality::Answered;
use crate::mesh::schedule::Timer;
use crate::mesh::session::Session;
use crate::mesh::wire::DATAGRAM_LENGTH_MAX;
use crate::mesh::wire::Frame;
use crate::mesh::wire::PROTOCOL_RENDEZVOUS;
use crate::mesh::wire::PROTOCOL_SESSION;
use crate::mesh::wire::Packet;
use crate::mesh::wire::Probe;
use crate::mesh::wire::Routed;
use crate::mesh::wire::write_response;
use crate::model::time::Moment;

impl Mesh {
    /// Takes a datagram from the socket; it is opened where it lies.
    pub fn handle_datagram(&mut self, now: Moment, source: SocketAddr, datagram: &mut [u8]) {
        let source = canonical(source);
        let plane = self.plane();
        match plane.receive(now, source, datagram) {
            Verdict::Control => self.receive_control(now, source, datagram),
            Verdict::Deliver { source, protocol, payload } => {
                self.deliver(source, protocol, payload);
            }
            Verdict::Forward { destination } => {
                let datagram = datagram.to_vec();
                self.outputs.push_back(Output::Transmit { destination, datagram });
            }
            Verdict::Drop => {}
        }
        self.handle_plane_events(now);
    }

    /// Takes a payload that somebody else has opened with the mesh's plane.
    pub fn handle_payload(
        &mut self,
        now: Moment,
        source: Ipv6Addr,
        protocol: InnerProtocol,
        payload: &mut [u8],
    ) {
        self.deliver(source, protocol, payload);
        self.handle_plane_events(now);
    }

    fn receive_control(&mut self, now: Moment, source: SocketAddr, datagram: &mut [u8]) {
        if datagram.len() > DATAGRAM_LENGTH_MAX {
            return;
        }
        match Packet::read(datagram) {
            Some(packet @ Packet::Initiation { sender, noise, .. })
                if self.admits(now, source, &packet) =>
            {
                self.receive_initiation(now, source, sender, noise);
            }
            Some(Packet::Challenge { receiver, salt, sealed }) => {
                self.receive_challenge(now, source, receiver, &salt, &sealed);
            }
            Some(Packet::Response { sender, receiver, noise }) => {
                self.receive_response(now, source, sender, receiver, noise);
            }
            Some(Packet::Transport { receiver, counter }) => match self.indices.get(&receiver) {
                Some(IndexOwner::Link(peer)) => {
                    let peer = *peer;
                    self.receive_transport(now, source, peer, receiver, counter, datagram);
                }
                Some(IndexOwner::Guest) => {
                    self.receive_from_guest(now, source, receiver, counter, datagram);
                    self.tend_guests(now);
                }
                Some(IndexOwner::Knocking) => {
                    self.receive_from_host(now, source, receiver, counter, datagram);
                    self.tend_knock(now);
                }
                None => {}
            },
            Some(Packet::Initiation { .. }) | None => {}
        }
    }

    fn receive_initiation(&mut self, now: Moment, source: SocketAddr, sender: u32, noise: &[u8]) {
        let seed = self.seed();
        self.initiations_read += 1;
        let Some(handshaker) = &self.handshaker else { return };
        let Some(accepted) = handshaker.accept(noise, seed) else { return };
        match accepted.hello.purpose {
            Purpose::Link => self.accept_link(now, source, sender, accepted),
            Purpose::Knock => self.accept_knock(now, source, sender, accepted),
            Purpose::Session => {}
        }
    }

    fn accept_link(&mut self, now: Moment, source: SocketAddr, sender: u32, accepted: Accepted) {
        let Some(&peer) = self.by_static_key.get(&accepted.remote_static) else { return };
        let Some(link) = self.links.get_mut(&peer) else { return };
        let hello = accepted.hello;
        let copied = link.timestamp.is_some_and(|latest| hello.timestamp <= latest);
        if hello.id != *link.id.as_bytes() || copied {
            return;
        }
        link.timestamp = Some(hello.timestamp);
        if !self.admits_link(now, peer) {
            return;
        }
        let Some(session) = self.answer(now, source, sender, accepted) else { return };
        self.indices.insert(session.local_index, IndexOwner::Link(peer));
        let Some(link) = self.links.get_mut(&peer) else { return };
        if let Some((before, _)) = link.sessions.next.replace((session, hello.boot)) {
            self.indices.remove(&before.local_index);
        }
        self.publish_link(peer);
    }

    fn accept_knock(&mut self, now: Moment, source: SocketAddr, sender: u32, accepted: Accepted) {
        let Some(&invitation) = self.invitations.get(&accepted.remote_static) else { return };
        if accepted.hello.id != *invitation.as_bytes() {
            return;
        }
        if let Some(session) = self.answer(now, source, sender, accepted) {
            self.open_door(now, invitation, session, source);
        }
    }

    fn answer(
        &mut self,
        now: Moment,
        source: SocketAddr,
        sender: u32,
        accepted: Accepted,
    ) -> Option<Session> {
        let index = self.free_index();
        let (keys, message) = accepted.answer(self.boot, Some(source))?;
        let session = Session::new(&keys, index, sender, false, now)?;
        let datagram = write_response(index, sender, &message);
        self.outputs.push_back(Output::Transmit { destination: source, datagram });
        Some(session)
    }

    fn receive_response(
        &mut self,
        now: Moment,
        source: SocketAddr,
        sender: u32,
        receiver: u32,
        noise: &[u8],
    ) {
        match self.indices.get(&receiver) {
            Some(IndexOwner::Link(peer)) => {
                let peer = *peer;
                self.link_answered(now, source, peer, sender, receiver, noise);
            }
            Some(IndexOwner::Knocking) => {
                let attempt =
                    self.knocking.as_mut().and_then(|knocking| knocking.dial.attempt_mut());
                let Some(attempt) = attempt.filter(|attempt| attempt.index == receiver) else {
                    return;
                };
                let Some((keys, _)) = attempt.initiated.finish(noise) else { return };
                let Some(session) = Session::new(&keys, receiver, sender, true, now) else {
                    return;
                };
                self.knock_connected(now, source, session);
                self.indices.insert(receiver, IndexOwner::Knocking);
            }
            _ => {}
        }
    }

    fn link_answered(
        &mut self,
        now: Moment,
        source: SocketAddr,
        peer: Ipv6Addr,
        sender: u32,
        receiver: u32,
        noise: &[u8],
    ) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        let attempt = link.dial.attempt_mut().filter(|attempt| attempt.index == receiver);
        let Some(attempt) = attempt else { return };
        let Some((keys, welcome)) = attempt.initiated.finish(noise) else { return };
        let Some(session) = Session::new(&keys, receiver, sender, true, now) else { return };
        // The index lives on as the session's.
        link.dial.stop();
        link.punch.end();
        link.explored = false;
        let (restarted, dropped) = link.sessions.install(session, welcome.boot, false);
        if let Some(index) = dropped {
            self.indices.remove(&index);
        }
        self.established(now, peer, source, restarted);
        self.ping(now, peer);
        if let Some(observed) = welcome.observed {
            self.observe(now, peer, observed);
        }
        self.reschedule(now, peer);
    }

    /// A session has proved to work both ways.
    fn established(&mut self, now: Moment, peer: Ipv6Addr, source: SocketAddr, restarted: bool) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        let boot = link.sessions.boot;
        match &mut link.live {
            Some(live) if !restarted => {
                live.received_at = now;
                live.endpoint = source;
                link.last_endpoint = Some(source);
            }
            _ => self.bring_up(now, peer, source),
        }
        self.publish_link(peer);
        if boot.is_some_and(|boot| self.end_started(peer, boot)) {
            self.want_session(now, peer);
        }
    }

    /// The other side has used the session that was prepared for it. When both sides dialled at
    /// once there are two: both speak under the one that the higher address began.
    pub(super) fn promote(&mut self, now: Moment, peer: Ipv6Addr, source: SocketAddr) {
        let own_is_higher = self.own > peer;
        let crossing = self.settings.link_timeout;
        let Some(link) = self.links.get_mut(&peer) else { return };
        let Some((session, boot)) = link.sessions.next.take() else { return };
        let aside = own_is_higher
            && link.sessions.current.as_ref().is_some_and(|current| {
                current.initiator && now.since(current.created_at) < crossing
            });
        let (restarted, dropped) = link.sessions.install(session, boot, aside);
        link.explored = false;
        link.punch.end();
        let attempt = link.dial.stop();
        for index in dropped.into_iter().chain(attempt) {
            self.indices.remove(&index);
        }
        self.established(now, peer, source, restarted);
    }

    fn receive_transport(
        &mut self,
        now: Moment,
        source: SocketAddr,
        peer: Ipv6Addr,
        index: u32,
        counter: u64,
        datagram: &mut [u8],
    ) {
        let length = datagram.len() as u64;
        let Some(link) = self.links.get_mut(&peer) else { return };
        let is_next = link.sessions.is_next(index);
        let Some(session) = link.sessions.by_index(index) else { return };
        let Some(opened) = session.open(counter, datagram) else { return };
        if is_next {
            self.promote(now, peer, source);
        }
        let Some(link) = self.links.get_mut(&peer) else { return };
        let Some(live) = &mut link.live else { return };
        live.received_at = now;
        live.bytes_received += length;
        live.packets_received += 1;
        live.quality.counted(opened.advance, 1);
        let current =
            link.sessions.current.as_ref().is_some_and(|session| session.local_index == index);
        if opened.newest && current && live.endpoint != source {
            live.endpoint = source;
            link.last_endpoint = Some(source);
            self.publish_link(peer);
        }
        if let Some(frame) = Frame::read(opened.frame) {
            self.receive_frame(now, peer, &frame);
        }
        if is_next {
            self.ping(now, peer);
            self.reschedule(now, peer);
        }
    }

    fn receive_frame(&mut self, now: Moment, peer: Ipv6Addr, frame: &Frame<'_>) {
        match frame {
            Frame::Ping(probe) => {
                let wanted = self.keeps(peer);
                let observed = self.links.get(&peer).and_then(|link| link.live.as_ref());
                let Some(observed) = observed.map(|live| live.endpoint) else { return };
                self.transmit(peer, &Frame::Pong(Probe { token: probe.token, wanted, observed }));
                self.receive_probe(now, peer, probe);
            }
            Frame::Pong(probe) => {
                let live = self.links.get_mut(&peer).and_then(|link| link.live.as_mut());
                let Some(live) = live else { return };
                live.traffic.proved();
                live.heed_traffic();
                match live.quality.ponged(probe.token, now, &self.settings) {
                    Answered::Nothing => {}
                    Answered::CostDiffers => self.tell_costs(now),
                    Answered::First => self.own_link_measured(now),
                    Answered::Changed => self.own_metric_changed(now),
                }
                self.reschedule(now, peer);
                self.receive_probe(now, peer, probe);
            }
            Frame::Routed(routed) => self.receive_routed(now, peer, routed),
            Frame::States(states) => self.receive_states(now, peer, states),
            Frame::Held(held) => self.receive_held(now, peer, held),
            Frame::Close => self.closed(now, peer),
            Frame::KnockChunk { .. } | Frame::KnockHeld(_) => {}
        }
    }

    fn receive_probe(&mut self, now: Moment, peer: Ipv6Addr, probe: &Probe) {
        if let Some(live) = self.links.get_mut(&peer).and_then(|link| link.live.as_mut())
            && std::mem::replace(&mut live.wanted_there, probe.wanted) != probe.wanted
        {
            self.schedule.set_by(Timer::Link(peer), now);
        }
        self.observe(now, peer, probe.observed);
    }

    fn receive_routed(&mut self, now: Moment, peer: Ipv6Addr, routed: &Routed<'_>) {
        let is_last = routed.destination == self.own || routed.ttl <= 1;
        if routed.protocol == PROTOCOL_ECHO && is_last {
            return self.receive_echo(now, routed);
        }
        let Routed { ttl, destination, source, payload, .. } = *routed;
        if destination == self.own {
            match routed.protocol {
                PROTOCOL_SESSION => self.receive_session_message(now, peer, source, payload),
                PROTOCOL_RENDEZVOUS => self.receive_rendezvous(now, peer, source, payload),
                _ => {}
            }
        } else if ttl > 1 && source != self.own {
            self.forward(now, &Routed { ttl: ttl - 1, ..*routed }, Some(peer));
        }
    }

    fn deliver(&mut self, source: Ipv6Addr, protocol: InnerProtocol, payload: &[u8]) {
        let Some(source) = self.links.get(&source).map(|link| link.id) else { return };
        let protocol = match protocol {
            InnerProtocol::Gossip => Protocol::Gossip,
            InnerProtocol::Stream => Protocol::Stream,
            // Packets are for a device; without one nobody wants them.
            InnerProtocol::Nothing | InnerProtocol::Ipv6 | InnerProtocol::Ipv6Partial => return,
        };
        let payload = Bytes::copy_from_slice(payload);
        self.outputs.push_back(Output::Deliver { source, protocol, payload });
    }

    /// A neighbour has closed the link. If it is still wanted it is dialled again, after a pause
    /// in which the neighbour can go.
    fn closed(&mut self, now: Moment, peer: Ipv6Addr) {
        self.take_down(now, peer);
        if let Some(link) = self.links.get_mut(&peer) {
            link.dial.postpone(now + self.settings.ping_interval);
        }
        self.reschedule(now, peer);
    }
}
