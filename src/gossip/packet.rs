//! What one member sends another in a datagram: `version | kind | body`.

use std::net::Ipv6Addr;
use std::num::NonZeroUsize;

use foca::Codec;
use foca::Header;
use foca::Incarnation;
use foca::Member;
use foca::Message;

use crate::gossip::codec::Padded;
use crate::gossip::codec::padding;
use crate::gossip::life::Life;
use crate::gossip::rumour::Rumour;

/// The version every packet starts with.
const VERSION: u8 = 1;

/// Largest packet in bytes, sent or accepted: what the mesh carries in one datagram.
pub(super) const PACKET_SIZE_MAX: usize = 1_300;

/// Bytes before the body.
const FRAME_SIZE: usize = 2;

/// Largest packet of foca's, so that it fits with our frame.
pub(super) const SWIM_SIZE_MAX: NonZeroUsize =
    NonZeroUsize::new(PACKET_SIZE_MAX - FRAME_SIZE).unwrap();

/// Kinds of packets: the second byte.
const SWIM: u8 = 1;
const RUMOURS: u8 = 2;
const SUSPECTED: u8 = 3;
const SUPERSEDED: u8 = 4;

/// A packet, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    /// SWIM's own: probes, answers, updates.
    Swim(SwimPacket),
    /// News besides SWIM's.
    Rumours(Vec<Rumour>),
    /// The sender's probe of the receiver failed: it is to speak up.
    Suspected {
        /// The suspected generation.
        generation: u64,
        /// The suspected incarnation.
        incarnation: Incarnation,
    },
    /// The sender knows a later life of the receiver, so that it cannot hear this one.
    Superseded {
        /// That life's generation.
        generation: u64,
    },
}

/// A packet of foca's, taken apart so that what the document does not name can be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SwimPacket {
    pub(super) header: Header<Life>,
    /// None where the message carries no list at all.
    pub(super) updates: Option<Vec<Member<Life>>>,
}

impl SwimPacket {
    fn decode(body: &[u8]) -> Option<Self> {
        let (header, mut rest) = postcard::take_from_bytes::<Header<Life>>(body).ok()?;
        if header.message == Message::Broadcast {
            return None;
        }
        if rest.is_empty() {
            return Some(Self { header, updates: None });
        }
        let (count, list) = rest.split_first_chunk::<2>()?;
        rest = list;
        let mut updates = Vec::new();
        for _ in 0..u16::from_be_bytes(*count) {
            let (member, after) = postcard::take_from_bytes::<Member<Life>>(rest).ok()?;
            updates.push(member);
            rest = after;
        }
        rest.is_empty().then_some(Self { header, updates: Some(updates) })
    }

    /// The bytes as foca reads them; none when they cannot be written.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(SWIM_SIZE_MAX.get());
        Padded.encode_header(&self.header, &mut bytes).ok()?;
        if let Some(updates) = &self.updates {
            bytes.extend(u16::try_from(updates.len()).ok()?.to_be_bytes());
            for update in updates {
                Padded.encode_member(update, &mut bytes).ok()?;
            }
        }
        Some(bytes)
    }

    /// Whether a packet of foca's as foca wrote it asks its receiver to show that it lives.
    pub(super) fn is_probe(body: &[u8]) -> bool {
        let header = postcard::take_from_bytes::<Header<Life>>(body);
        header.is_ok_and(|(header, _)| matches!(header.message, Message::Ping(_)))
    }

    /// The addresses that the message itself names, besides sender and receiver.
    pub(super) fn third_party(&self) -> Option<Ipv6Addr> {
        match &self.header.message {
            Message::PingReq { target, .. } | Message::IndirectAck { target, .. } => {
                Some(target.address)
            }
            Message::IndirectPing { origin, .. } | Message::ForwardedAck { origin, .. } => {
                Some(origin.address)
            }
            _ => None,
        }
    }

    /// Whether every generation in it can still be passed by its owner.
    fn is_sound(&self) -> bool {
        self.header.src.is_sound()
            && self.updates.iter().flatten().all(|update| update.id().is_sound())
    }
}

impl Packet {
    /// Reads a packet; none for what no sound member sends.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > PACKET_SIZE_MAX {
            return None;
        }
        let (&[version, kind], body) = bytes.split_first_chunk::<FRAME_SIZE>()?;
        if version != VERSION {
            return None;
        }
        match kind {
            SWIM => SwimPacket::decode(body).filter(SwimPacket::is_sound).map(Self::Swim),
            RUMOURS => postcard::from_bytes(body).ok().map(Self::Rumours),
            SUSPECTED => postcard::from_bytes(body)
                .ok()
                .map(|(generation, incarnation)| Self::Suspected { generation, incarnation }),
            SUPERSEDED => {
                postcard::from_bytes(body).ok().map(|generation| Self::Superseded { generation })
            }
            _ => None,
        }
    }

    /// A packet of foca's as foca wrote it; its padding does not travel.
    pub(super) fn frame_swim(body: &[u8]) -> Vec<u8> {
        let header = postcard::take_from_bytes::<Header<Life>>(body);
        let length = header.map_or(0, |(_, rest)| body.len() - rest.len());
        let rest = body.get(length + padding(length)..).unwrap_or_default();
        let mut bytes = Vec::with_capacity(FRAME_SIZE + length + rest.len());
        bytes.extend([VERSION, SWIM]);
        bytes.extend_from_slice(&body[..length]);
        bytes.extend_from_slice(rest);
        bytes
    }

    /// Rumours, each already encoded.
    pub(super) fn frame_rumours(encoded: &[&[u8]]) -> Vec<u8> {
        // Postcard writes a list as its length (one byte up to 127) and the items one after
        // another.
        let mut body = postcard::to_allocvec(&encoded.len()).unwrap_or_default();
        for rumour in encoded {
            body.extend_from_slice(rumour);
        }
        frame(RUMOURS, &body)
    }

    pub(super) fn frame_suspected(generation: u64, incarnation: Incarnation) -> Vec<u8> {
        frame(SUSPECTED, &postcard::to_allocvec(&(generation, incarnation)).unwrap_or_default())
    }

    pub(super) fn frame_superseded(generation: u64) -> Vec<u8> {
        frame(SUPERSEDED, &postcard::to_allocvec(&generation).unwrap_or_default())
    }
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME_SIZE + body.len());
    bytes.extend([VERSION, kind]);
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use foca::State;

    fn life(last: u16) -> Life {
        Life { address: Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, last), generation: 1 << 40 }
    }

    fn ping() -> SwimPacket {
        let header = Header {
            src: life(1),
            src_incarnation: 3,
            dst: life(2),
            message: Message::PingReq { target: life(3), probe_number: 7 },
        };
        SwimPacket { header, updates: Some(vec![Member::new(life(4), 1, State::Suspect)]) }
    }

    #[test]
    fn a_packet_taken_apart_and_put_together_is_the_same() {
        let body = ping().encode().unwrap();
        let framed = Packet::frame_swim(&body);
        let Some(Packet::Swim(read)) = Packet::decode(&framed) else { panic!("not read") };
        assert_eq!(read, ping());
        assert_eq!(read.encode().unwrap(), body);
        assert_eq!(read.third_party(), Some(life(3).address));
        let mut probe = ping();
        probe.header.message = Message::Ping(7);
        assert!(SwimPacket::is_probe(&probe.encode().unwrap()) && !SwimPacket::is_probe(&body));
    }

    #[test]
    fn what_no_sound_member_sends_is_not_read() {
        let body = ping().encode().unwrap();
        let mut trailing = Packet::frame_swim(&body);
        trailing.push(0);
        assert_eq!(Packet::decode(&trailing), None);
        let mut later_version = Packet::frame_swim(&body);
        later_version[0] = 2;
        assert_eq!(Packet::decode(&later_version), None);
        assert_eq!(Packet::decode(&vec![VERSION; PACKET_SIZE_MAX + 1]), None);
        let mut endless = ping();
        endless.header.src.generation = u64::MAX;
        assert_eq!(Packet::decode(&Packet::frame_swim(&endless.encode().unwrap())), None);
    }
}
