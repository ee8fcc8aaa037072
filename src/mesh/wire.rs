//! The bytes of packets and frames, and nothing of what they mean. `docs/mesh.md` describes them.
//! All numbers are big-endian.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

/// Version of the wire: first byte of every datagram.
pub const VERSION: u8 = 1;
/// Longest datagram: an Ethernet frame less IPv6 and UDP headers.
pub const DATAGRAM_LENGTH_MAX: usize = 1452;
/// Length of an authentication tag of ChaCha20-Poly1305.
pub const TAG_LENGTH: usize = 16;
/// Length of each of the two macs that end an initiation.
pub const MAC_LENGTH: usize = 16;
/// Length of a cookie.
pub const COOKIE_LENGTH: usize = 16;
/// Length of a cookie as it is sent.
pub const SEALED_COOKIE_LENGTH: usize = COOKIE_LENGTH + TAG_LENGTH;
/// Length of a datagram with a cookie.
pub const CHALLENGE_LENGTH: usize = 4 + 4 + 16 + SEALED_COOKIE_LENGTH;
/// Version, kind, two zero bytes, receiver's index, counter.
pub const TRANSPORT_HEADER_LENGTH: usize = 16;
/// Longest frame.
pub const FRAME_LENGTH_MAX: usize = DATAGRAM_LENGTH_MAX - TRANSPORT_HEADER_LENGTH - TAG_LENGTH;
/// The protocol of a routed payload: messages of handshakes between two ends.
pub const PROTOCOL_SESSION: u8 = 3;
/// The same: a message of two machines that agree to dial each other at once.
pub const PROTOCOL_RENDEZVOUS: u8 = 5;
/// Most bytes of a knock in one frame.
pub const KNOCK_CHUNK_LENGTH: usize = 1_200;
/// Most entries of one [`Frame::Held`].
pub const HELD_MAX: usize = (FRAME_LENGTH_MAX - 1) / 24;

const KIND_INITIATION: u8 = 1;
const KIND_RESPONSE: u8 = 2;
const KIND_TRANSPORT: u8 = 3;
const KIND_CHALLENGE: u8 = 5;

const FRAME_PING: u8 = 1;
const FRAME_PONG: u8 = 2;
const FRAME_ROUTED: u8 = 3;
const FRAME_STATES: u8 = 4;
const FRAME_HELD: u8 = 5;
const FRAME_CLOSE: u8 = 6;
const FRAME_KNOCK_CHUNK: u8 = 7;
const FRAME_KNOCK_HELD: u8 = 8;

/// A datagram taken apart; what is authenticated is still sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The first message of a handshake.
    Initiation {
        /// Index under which its sender wants to be answered.
        sender: u32,
        /// Noise message 1.
        noise: &'a [u8],
        /// All that the first mac covers.
        covered: &'a [u8],
        /// Proves that the sender knows whom it talks to.
        mac: &'a [u8; MAC_LENGTH],
        /// All that the second mac covers.
        provable: &'a [u8],
        /// Proves, if it was asked to, that the sender receives at its address.
        proof: &'a [u8; MAC_LENGTH],
    },
    /// Asks for a proof of the address before a first message is read.
    Challenge {
        /// The initiation's index.
        receiver: u32,
        /// Makes the key of the sealed cookie unique.
        salt: [u8; 16],
        /// The cookie.
        sealed: [u8; SEALED_COOKIE_LENGTH],
    },
    /// The second message of a handshake.
    Response {
        /// Index under which its sender wants to be spoken to.
        sender: u32,
        /// The initiation's index.
        receiver: u32,
        /// Noise message 2.
        noise: &'a [u8],
    },
    /// A sealed frame; it begins after [`TRANSPORT_HEADER_LENGTH`] bytes.
    Transport {
        /// Index of the session at its receiver.
        receiver: u32,
        /// Number of the packet in its session.
        counter: u64,
    },
}

impl<'a> Packet<'a> {
    /// Reads a datagram's outer form.
    #[must_use]
    pub fn read(datagram: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(datagram);
        let head = reader.array::<4>()?;
        match head {
            [VERSION, KIND_INITIATION, 0, 0] => {
                let (provable, proof) = datagram.split_last_chunk::<MAC_LENGTH>()?;
                let (covered, mac) = provable.split_last_chunk::<MAC_LENGTH>()?;
                let mut reader = Reader::new(covered.get(4..)?);
                let (sender, noise) = (reader.u32()?, reader.rest());
                Some(Self::Initiation { sender, noise, covered, mac, provable, proof })
            }
            [VERSION, KIND_CHALLENGE, 0, 0] => {
                let (receiver, salt, sealed) = (reader.u32()?, reader.array()?, reader.array()?);
                let is_whole = reader.rest().is_empty();
                is_whole.then_some(Self::Challenge { receiver, salt, sealed })
            }
            [VERSION, KIND_RESPONSE, 0, 0] => Some(Self::Response {
                sender: reader.u32()?,
                receiver: reader.u32()?,
                noise: reader.rest(),
            }),
            [VERSION, KIND_TRANSPORT, 0, 0] => {
                let packet = Self::Transport { receiver: reader.u32()?, counter: reader.u64()? };
                (reader.rest().len() > TAG_LENGTH).then_some(packet)
            }
            _ => None,
        }
    }
}

/// A cookie on its way to who sent the initiation with the index `receiver`.
#[must_use]
pub fn write_challenge(
    receiver: u32,
    salt: &[u8; 16],
    sealed: &[u8; SEALED_COOKIE_LENGTH],
) -> Vec<u8> {
    let mut bytes = vec![VERSION, KIND_CHALLENGE, 0, 0];
    bytes.extend_from_slice(&receiver.to_be_bytes());
    bytes.extend_from_slice(salt);
    bytes.extend_from_slice(sealed);
    bytes
}

/// An initiation up to its macs.
#[must_use]
pub fn write_initiation(sender: u32, noise: &[u8]) -> Vec<u8> {
    let mut bytes = vec![VERSION, KIND_INITIATION, 0, 0];
    bytes.extend_from_slice(&sender.to_be_bytes());
    bytes.extend_from_slice(noise);
    bytes
}

/// A response.
#[must_use]
pub fn write_response(sender: u32, receiver: u32, noise: &[u8]) -> Vec<u8> {
    let mut bytes = vec![VERSION, KIND_RESPONSE, 0, 0];
    bytes.extend_from_slice(&sender.to_be_bytes());
    bytes.extend_from_slice(&receiver.to_be_bytes());
    bytes.extend_from_slice(noise);
    bytes
}

/// A transport packet's header.
#[must_use]
pub fn transport_header(receiver: u32, counter: u64) -> [u8; TRANSPORT_HEADER_LENGTH] {
    let mut header = [0u8; TRANSPORT_HEADER_LENGTH];
    header[0] = VERSION;
    header[1] = KIND_TRANSPORT;
    header[4..8].copy_from_slice(&receiver.to_be_bytes());
    header[8..].copy_from_slice(&counter.to_be_bytes());
    header
}

/// What one neighbour says to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Asks for a pong.
    Ping(Probe),
    /// Answers a ping: token and what the sender sees and wants.
    Pong(Probe),
    /// A payload on its way.
    Routed(Routed<'a>),
    /// Signed advertisements, each after its length.
    States(Vec<&'a [u8]>),
    /// The sequences of advertisements its sender holds.
    Held(Vec<(Ipv6Addr, u64)>),
    /// The link ends here.
    Close,
    /// A part of a request for admission, or of its answer.
    KnockChunk {
        /// Length of the whole.
        total: u32,
        /// Where this part begins.
        offset: u32,
        /// The part.
        bytes: &'a [u8],
    },
    /// How much of the other side's bytes have come, from the start without a gap.
    KnockHeld(u32),
}

/// What pings and pongs carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Repeated by the pong.
    pub token: u32,
    /// Whether the sender's own choice of neighbours keeps this link.
    pub wanted: bool,
    /// The address the sender sees the receiver at.
    pub observed: SocketAddr,
}

/// A payload on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routed<'a> {
    /// Hops it may still make.
    pub ttl: u8,
    /// For whom.
    pub destination: Ipv6Addr,
    /// By whom.
    pub source: Ipv6Addr,
    /// What the payload is: [`PROTOCOL_SESSION`] or [`PROTOCOL_RENDEZVOUS`].
    pub protocol: u8,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads an opened frame. Bytes after a fixed form are left to later versions.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            FRAME_PING => Some(Self::Ping(reader.probe()?)),
            FRAME_PONG => Some(Self::Pong(reader.probe()?)),
            FRAME_ROUTED => Some(Self::Routed(Routed {
                ttl: reader.u8()?,
                destination: reader.address()?,
                source: reader.address()?,
                protocol: reader.u8()?,
                payload: reader.rest(),
            })),
            FRAME_STATES => {
                let mut states = Vec::new();
                while !reader.rest().is_empty() {
                    let length = usize::from(reader.u16()?);
                    states.push(reader.slice(length)?);
                }
                Some(Self::States(states))
            }
            FRAME_HELD => {
                let mut held = Vec::new();
                while !reader.rest().is_empty() {
                    held.push((reader.address()?, reader.u64()?));
                }
                Some(Self::Held(held))
            }
            FRAME_CLOSE => Some(Self::Close),
            FRAME_KNOCK_CHUNK => Some(Self::KnockChunk {
                total: reader.u32()?,
                offset: reader.u32()?,
                bytes: reader.rest(),
            }),
            FRAME_KNOCK_HELD => Some(Self::KnockHeld(reader.u32()?)),
            _ => None,
        }
    }

    /// Appends the frame's bytes.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Ping(probe) => write_probe(bytes, FRAME_PING, probe),
            Self::Pong(probe) => write_probe(bytes, FRAME_PONG, probe),
            Self::Routed(routed) => {
                bytes.extend_from_slice(&[FRAME_ROUTED, routed.ttl]);
                bytes.extend_from_slice(&routed.destination.octets());
                bytes.extend_from_slice(&routed.source.octets());
                bytes.push(routed.protocol);
                bytes.extend_from_slice(routed.payload);
            }
            Self::States(states) => {
                bytes.push(FRAME_STATES);
                for state in states {
                    let length = u16::try_from(state.len()).unwrap_or(u16::MAX);
                    bytes.extend_from_slice(&length.to_be_bytes());
                    bytes.extend_from_slice(&state[..usize::from(length)]);
                }
            }
            Self::Held(held) => {
                bytes.push(FRAME_HELD);
                for (origin, sequence) in held {
                    bytes.extend_from_slice(&origin.octets());
                    bytes.extend_from_slice(&sequence.to_be_bytes());
                }
            }
            Self::Close => bytes.push(FRAME_CLOSE),
            Self::KnockChunk { total, offset, bytes: chunk } => {
                bytes.push(FRAME_KNOCK_CHUNK);
                bytes.extend_from_slice(&total.to_be_bytes());
                bytes.extend_from_slice(&offset.to_be_bytes());
                bytes.extend_from_slice(chunk);
            }
            Self::KnockHeld(offset) => {
                bytes.push(FRAME_KNOCK_HELD);
                bytes.extend_from_slice(&offset.to_be_bytes());
            }
        }
    }
}

fn write_probe(bytes: &mut Vec<u8>, kind: u8, probe: &Probe) {
    bytes.push(kind);
    bytes.extend_from_slice(&probe.token.to_be_bytes());
    bytes.push(u8::from(probe.wanted));
    write_endpoint(bytes, probe.observed);
}

/// Appends address (IPv4 as mapped IPv6) and port.
pub fn write_endpoint(bytes: &mut Vec<u8>, endpoint: SocketAddr) {
    let address = match endpoint.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    bytes.extend_from_slice(&address.octets());
    bytes.extend_from_slice(&endpoint.port().to_be_bytes());
}

/// Takes bytes from the front of a slice, each read bounded.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `bytes` from their start.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next `length` bytes.
    pub fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A mesh address.
    pub fn address(&mut self) -> Option<Ipv6Addr> {
        self.array::<16>().map(Ipv6Addr::from)
    }

    /// An address and a port; a mapped IPv4 address is read as the IPv4 address it is.
    pub fn endpoint(&mut self) -> Option<SocketAddr> {
        let address = self.address()?;
        let port = self.u16()?;
        let address = address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4);
        Some(SocketAddr::new(address, port))
    }

    fn probe(&mut self) -> Option<Probe> {
        Some(Probe { token: self.u32()?, wanted: self.u8()? & 1 == 1, observed: self.endpoint()? })
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
