//! Payloads on their way out: sealed and sent, or waiting for a session.

use std::net::Ipv6Addr;

use crate::mesh::core::Mesh;
use crate::mesh::core::SEND_LENGTH_MAX;
use crate::mesh::output::Output;
use crate::mesh::output::Protocol;
use crate::mesh::output::SendError;
use crate::mesh::plane::header::InnerProtocol;
use crate::mesh::plane::header::OVERHEAD;
use crate::mesh::plane::sender::Sender;
use crate::mesh::schedule::Timer;
use crate::mesh::wire::Frame;
use crate::mesh::wire::Routed;
use crate::model::identity::NodeId;
use crate::model::time::Moment;

/// Packets that may wait for one destination, and destinations that may be waited for.
const WAITING_MAX: usize = 8;
const WAITING_DESTINATIONS_MAX: usize = 256;

/// A packet that waits for a session.
pub(super) struct Waiting {
    until: Moment,
    protocol: InnerProtocol,
    payload: Vec<u8>,
}

impl Mesh {
    /// Sends a payload to a member: sealed from end to end, handed on hop by hop. It may be lost
    /// on the way, as any datagram.
    ///
    /// # Errors
    /// [`SendError`]: nothing was sent and nothing will be.
    pub fn send(
        &mut self,
        now: Moment,
        destination: NodeId,
        protocol: Protocol,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let address = destination.address();
        if address == self.own {
            return Err(SendError::ToItself);
        }
        if !self.links.contains_key(&address) {
            return Err(SendError::Unknown(destination));
        }
        self.carry(now, destination, protocol.into(), payload)
    }

    /// The same for payloads of any kind; what has no session yet waits for it, within bounds.
    ///
    /// # Errors
    /// [`SendError`]: nothing was sent and nothing will be.
    pub fn carry(
        &mut self,
        now: Moment,
        destination: NodeId,
        protocol: InnerProtocol,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let limit = SEND_LENGTH_MAX;
        if payload.len() > limit {
            return Err(SendError::TooLong { length: payload.len(), limit });
        }
        let address = destination.address();
        let link = self.links.get(&address).ok_or(SendError::Unknown(destination))?;
        let being_made = link.is_being_made();
        let sender = self.plane.sender(now, address);
        self.handle_plane_events(now);
        if let Some(sender) = sender
            && self.carry_with(&sender, protocol, payload).is_some()
        {
            return Ok(());
        }
        if !being_made && !self.routes.contains_key(&address) {
            return Err(SendError::NoRoute(destination));
        }
        let full = SendError::QueueFull(destination);
        if !self.waiting.contains_key(&address) && self.waiting.len() >= WAITING_DESTINATIONS_MAX {
            return Err(full);
        }
        let queue = self.waiting.entry(address).or_default();
        if queue.len() >= WAITING_MAX {
            return Err(full);
        }
        let until = now + self.settings.queue_timeout;
        queue.push_back(Waiting { until, protocol, payload: payload.to_vec() });
        self.schedule.set_by(Timer::Queue, until);
        Ok(())
    }

    pub(super) fn carry_with(
        &mut self,
        sender: &Sender,
        protocol: InnerProtocol,
        payload: &[u8],
    ) -> Option<()> {
        let mut datagram = vec![0u8; payload.len() + OVERHEAD];
        datagram.get_mut(Sender::HEADROOM..)?.get_mut(..payload.len())?.copy_from_slice(payload);
        sender.seal(protocol, &mut datagram)?;
        self.outputs.push_back(Output::Transmit { destination: sender.endpoint(), datagram });
        Some(())
    }

    /// Hands a routed frame to the next neighbour. Returns whether there is one.
    pub(super) fn forward(
        &mut self,
        now: Moment,
        routed: &Routed<'_>,
        came_from: Option<Ipv6Addr>,
    ) -> bool {
        let Some(hop) = self.routes.get(&routed.destination).map(|route| route.first_hop) else {
            return false;
        };
        // Only while members disagree about the links can the way lead back.
        if Some(hop) == came_from {
            return false;
        }
        self.expect_proof(now, hop);
        self.transmit(hop, &Frame::Routed(*routed))
    }

    /// Sends a frame over a live link.
    pub(super) fn transmit(&mut self, peer: Ipv6Addr, frame: &Frame<'_>) -> bool {
        let sealed = self.links.get_mut(&peer).and_then(|link| link.seal(frame));
        let Some((destination, datagram)) = sealed else { return false };
        self.outputs.push_back(Output::Transmit { destination, datagram });
        true
    }

    /// Sends the packets that waited for a destination that can be sent to, asks for sessions with
    /// the others, and forgets packets that waited too long.
    pub(super) fn release_waiting(&mut self, now: Moment) {
        let mut waiting = std::mem::take(&mut self.waiting);
        for (destination, queue) in &mut waiting {
            queue.retain(|packet| packet.until > now);
            if queue.is_empty() {
                continue;
            }
            let Some(sender) = self.plane.sender(now, *destination) else { continue };
            for packet in queue.drain(..) {
                self.carry_with(&sender, packet.protocol, &packet.payload);
            }
        }
        waiting.retain(|_, queue| !queue.is_empty());
        let next = waiting.values().filter_map(|queue| queue.front()).map(|packet| packet.until);
        self.schedule.set(Timer::Queue, next.min());
        self.waiting = waiting;
        self.handle_plane_events(now);
    }
}
