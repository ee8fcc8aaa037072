//! Packets in and out: between the socket, the mesh, gossip and the streams.

use std::net::Ipv6Addr;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::agent::core::Core;
use crate::agent::core::Inbox;
use crate::gossip::core::Output as GossipOutput;
use crate::mesh::output::Output as MeshOutput;
use crate::mesh::output::Protocol;
use crate::mesh::stream::trust::Trust;
use crate::mesh::tun::pump::Arrival;
use crate::model::identity::NodeId;

impl Core {
    /// Takes everything the socket holds.
    pub fn receive_packets(&mut self) {
        let now = self.now();
        let mesh = &mut self.parts.mesh;
        let received = self.parts.socket.receive(|source: SocketAddr, datagram: &mut [u8]| {
            mesh.handle_datagram(now, source, datagram);
        });
        if let Err(error) = received {
            tracing::debug!(%error, "the socket failed to receive");
        }
        self.settle();
    }

    /// Takes what the interface's threads hand over; none when only the plane has events.
    pub fn receive_arrivals(&mut self, first: Option<Arrival>) {
        /// Taken before anything else gets a turn.
        const BATCH: usize = 256;
        let now = self.now();
        let mut next = first;
        for _ in 0..BATCH {
            match next {
                Some(Arrival::Datagram { source, mut datagram }) => {
                    self.parts.mesh.handle_datagram(now, source, &mut datagram);
                }
                Some(Arrival::Payload { source, protocol, mut payload }) => {
                    self.parts.mesh.handle_payload(now, source, protocol, &mut payload);
                }
                Some(Arrival::Unsent { destination, protocol, payload }) => {
                    // Lost like any packet when it cannot even wait.
                    if let Some(node) = self.parts.directory.node_at(destination) {
                        let _ = self.parts.mesh.carry(now, node, protocol, &payload);
                    }
                }
                None => {}
            }
            next = self.parts.interface.try_next();
            if next.is_none() {
                break;
            }
        }
        self.parts.mesh.handle_plane_events(now);
        self.settle();
    }

    /// Leads all members into the interface, as wide as their paths are.
    pub(super) fn refresh_interface(&mut self) {
        if !self.parts.interface.is_up() {
            return;
        }
        let me = self.me().address();
        let members = self.parts.directory.addresses().into_iter().filter(|one| *one != me);
        let links = self.parts.mesh.report().links;
        let links = links.into_iter().map(|link| (link.peer.address(), link.endpoint));
        self.parts.interface.set_members(members, links);
    }

    /// Sends a packet of a stream, and those that wait behind it, in one go.
    pub fn send_stream_packets(&mut self, destination: Ipv6Addr, packet: Bytes) {
        /// Packets sent before anything else gets a turn.
        const BATCH: usize = 64;
        let now = self.now();
        let mut next = Some((destination, packet));
        for _ in 0..BATCH {
            let Some((address, packet)) = next else { break };
            // Lost like any packet: QUIC notices and sends again.
            if let Some(node) = self.parts.directory.node_at(address) {
                let _ = self.parts.mesh.send(now, node, Protocol::Stream, &packet);
            }
            next = self.parts.lane.try_outgoing();
        }
        self.flush_mesh();
    }

    /// Lets mesh and gossip speak until both have nothing more to say.
    pub fn settle(&mut self) {
        loop {
            self.flush_mesh();
            if !self.flush_gossip() {
                break;
            }
        }
    }

    /// Carries out what the mesh wants.
    pub fn flush_mesh(&mut self) {
        while let Some(output) = self.parts.mesh.poll_output() {
            match output {
                MeshOutput::Transmit { destination, datagram } => {
                    self.parts.socket.send(destination, &datagram);
                }
                MeshOutput::Deliver { source, protocol, payload } => {
                    self.deliver(source, protocol, payload);
                }
                MeshOutput::Knock { knock, invitation, source: _, request } => {
                    self.handle_knock(knock, invitation, &request);
                }
                MeshOutput::LinkUp(node) => self.link_up(node),
                MeshOutput::LinkDown(node) => {
                    tracing::info!(node = %node.short(), "link down");
                    self.look_outside();
                }
                MeshOutput::ObservedAddress(_) => self.look_outside(),
                MeshOutput::Echoed { token, by, is_end, hops, rtt } => {
                    self.echoed(token, by, is_end, hops, rtt);
                }
                MeshOutput::RoutesChanged => self.refresh_interface(),
                MeshOutput::KnockAnswered { .. } => {}
            }
        }
        self.parts.socket.flush();
    }

    fn deliver(&mut self, source: NodeId, protocol: Protocol, payload: Bytes) {
        match protocol {
            Protocol::Gossip => {
                let now = self.now();
                self.parts.gossip.handle_packet(now, source, &payload);
            }
            Protocol::Stream => self.parts.lane.incoming(source, payload),
        }
    }

    /// Carries out what gossip wants; whether there was anything.
    fn flush_gossip(&mut self) -> bool {
        let mut any = false;
        while let Some(output) = self.parts.gossip.poll_output() {
            any = true;
            match output {
                GossipOutput::Send { to, packet } => {
                    let now = self.now();
                    // Lost like any packet: the next probe or exchange makes up for it.
                    let _ = self.parts.mesh.send(now, to, Protocol::Gossip, &packet);
                }
                GossipOutput::StatusChanged { node, status } => {
                    tracing::info!(node = %node.short(), %status, "status");
                    self.refresh_soon();
                }
                GossipOutput::FactsChanged { .. } => self.refresh_soon(),
                GossipOutput::FactsOutdated { version } => {
                    self.facts_version = self.facts_version.max(version);
                    self.facts_outdated = true;
                    self.refresh_soon();
                }
                GossipOutput::WantExchange { with } => self.exchange_with(with),
            }
        }
        any
    }

    fn link_up(&mut self, node: NodeId) {
        tracing::info!(node = %node.short(), "link up");
        let now = self.now();
        self.parts.gossip.greet(now, node);
        self.exchange_with(node);
        self.sync_with(node);
    }

    /// Begins a push-pull of membership and facts, unless one with `node` goes on.
    pub(super) fn exchange_with(&mut self, node: NodeId) {
        if !self.exchanging.insert(node) {
            return;
        }
        let request = self.parts.gossip.exchange_request();
        let (client, inbox) = (self.client.clone(), self.inbox.clone());
        tokio::spawn(async move {
            if let Err(error) = client.exchange(node, request).await {
                tracing::debug!(node = %node.short(), %error, "an exchange failed");
            }
            let _ = inbox.send(Inbox::Exchanged(node)).await;
        });
    }

    /// Compares the document with a random living member's.
    pub(super) fn sync_with_somebody(&mut self) {
        let living = self.living();
        if living.is_empty() {
            return;
        }
        let chosen = living[self.pick(living.len())];
        self.sync_with(chosen);
    }

    /// Compares the document with `node`'s. While that goes on already, once more afterwards: what
    /// is new by then may have come too late for it.
    pub(super) fn sync_with(&mut self, node: NodeId) {
        if let Some(once_more) = self.syncing.get_mut(&node) {
            *once_more = true;
            return;
        }
        self.syncing.insert(node, false);
        let (client, inbox) = (self.client.clone(), self.inbox.clone());
        tokio::spawn(async move {
            if let Err(error) = client.sync(node).await {
                tracing::debug!(node = %node.short(), %error, "a sync failed");
            }
            let _ = inbox.send(Inbox::Synced(node)).await;
        });
    }

    /// The document has been compared with `node`'s, or could not be.
    pub(super) fn synced(&mut self, node: NodeId) {
        if self.syncing.remove(&node) == Some(true) {
            self.sync_with(node);
        }
    }
}
