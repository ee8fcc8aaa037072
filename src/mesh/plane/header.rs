//! The bytes of a carried datagram. `docs/mesh.md` describes them.
//!
//! ```text
//! version kind 0 0 | receiver index (4) | counter (8) | hop mac (16)
//! ttl (1) | 0 (1) | destination (16) | source (16) | session index (4) | session counter (8)
//! sealed: protocol (1) | payload
//! tag (16)
//! ```

use std::net::Ipv6Addr;

use crate::mesh::wire::TAG_LENGTH;
use crate::mesh::wire::VERSION;

/// Second byte of a carried datagram.
pub const KIND_CARRIED: u8 = 4;
/// Hops a packet may make.
pub const TTL: u8 = 32;
/// Where the hop's mac stands.
pub const MAC_PLACE: usize = 16;
/// Where the route begins: all from here on stays the same from end to end, but for the ttl.
pub const ROUTE_PLACE: usize = 32;
/// Where what the seal covers begins: destination, source, session.
pub const BOUND_PLACE: usize = 34;
/// Where the sealed part begins.
pub const SEALED_PLACE: usize = 78;
/// Bytes before a payload.
pub const HEADROOM: usize = SEALED_PLACE + 1;
/// Bytes after a payload.
pub const TAILROOM: usize = TAG_LENGTH;
/// What carrying adds to a payload.
pub const OVERHEAD: usize = HEADROOM + TAILROOM;

const TTL_PLACE: usize = ROUTE_PLACE;
const SOURCE_PLACE: usize = 50;
const SESSION_PLACE: usize = 66;

/// What a sealed payload is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InnerProtocol {
    /// Nothing: shows that the session works.
    Nothing = 0,
    /// Membership.
    Gossip = 1,
    /// QUIC packets of streams.
    Stream = 2,
    /// An IPv6 packet.
    Ipv6 = 3,
    /// An IPv6 packet whose TCP or UDP checksum is left to the receiver: the pseudo-header's sum
    /// stands in its place.
    Ipv6Partial = 4,
}

impl InnerProtocol {
    /// Reads the first sealed byte.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Nothing),
            1 => Some(Self::Gossip),
            2 => Some(Self::Stream),
            3 => Some(Self::Ipv6),
            4 => Some(Self::Ipv6Partial),
            _ => None,
        }
    }
}

/// Whether a datagram is of this kind. Says nothing of its length.
#[must_use]
pub fn is_carried(datagram: &[u8]) -> bool {
    datagram.get(..4) == Some(&[VERSION, KIND_CARRIED, 0, 0])
}

/// The headers of a carried datagram, read from bytes long enough for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Index of the link's keys at the receiver of this hop.
    pub receiver: u32,
    /// Number of the packet on this hop.
    pub counter: u64,
    /// Hops it may still make.
    pub ttl: u8,
    /// For whom.
    pub destination: Ipv6Addr,
    /// By whom, as the members on the way say; the seal proves it.
    pub source: Ipv6Addr,
    /// Index of the session at the destination.
    pub session: u32,
    /// Number of the packet in the session.
    pub session_counter: u64,
}

impl Header {
    /// Reads a datagram. None when it is of another kind or too short to hold a sealed payload.
    #[must_use]
    pub fn read(datagram: &[u8]) -> Option<Self> {
        if !is_carried(datagram) || datagram.len() < OVERHEAD {
            return None;
        }
        let (head, _) = datagram.split_first_chunk::<SEALED_PLACE>()?;
        Some(Self {
            receiver: u32::from_be_bytes(array(head, 4)),
            counter: u64::from_be_bytes(array(head, 8)),
            ttl: head[TTL_PLACE],
            destination: Ipv6Addr::from(array::<16>(head, BOUND_PLACE)),
            source: Ipv6Addr::from(array::<16>(head, SOURCE_PLACE)),
            session: u32::from_be_bytes(array(head, SESSION_PLACE)),
            session_counter: u64::from_be_bytes(array(head, SESSION_PLACE + 4)),
        })
    }

    /// Writes all headers; the mac is left to the hop. The datagram is at least [`OVERHEAD`] long.
    pub fn write(&self, datagram: &mut [u8]) -> Option<()> {
        let head = datagram.first_chunk_mut::<SEALED_PLACE>()?;
        write_hop(head, self.receiver, self.counter);
        head[TTL_PLACE] = self.ttl;
        head[TTL_PLACE + 1] = 0;
        head[BOUND_PLACE..SOURCE_PLACE].copy_from_slice(&self.destination.octets());
        head[SOURCE_PLACE..SESSION_PLACE].copy_from_slice(&self.source.octets());
        head[SESSION_PLACE..SESSION_PLACE + 4].copy_from_slice(&self.session.to_be_bytes());
        head[SESSION_PLACE + 4..].copy_from_slice(&self.session_counter.to_be_bytes());
        Some(())
    }
}

/// Writes what changes at every hop but the ttl and the mac.
pub(super) fn write_hop(head: &mut [u8; SEALED_PLACE], receiver: u32, counter: u64) {
    head[..4].copy_from_slice(&[VERSION, KIND_CARRIED, 0, 0]);
    head[4..8].copy_from_slice(&receiver.to_be_bytes());
    head[8..MAC_PLACE].copy_from_slice(&counter.to_be_bytes());
}

/// Writes the ttl.
pub(super) fn write_ttl(datagram: &mut [u8], ttl: u8) {
    if let Some(byte) = datagram.get_mut(TTL_PLACE) {
        *byte = ttl;
    }
}

/// `N` bytes from `place`; the callers' places leave room for them.
fn array<const N: usize>(head: &[u8; SEALED_PLACE], place: usize) -> [u8; N] {
    let mut bytes = [0u8; N];
    bytes.copy_from_slice(&head[place..place + N]);
    bytes
}
