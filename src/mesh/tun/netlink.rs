//! Addresses, routes and the device's properties, told to the kernel without a program
//! (`rtnetlink(7)`; constants of the kernel's `include/uapi/linux`). Messages are made by pure
//! functions; one socket carries them.

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::OwnedFd;

use rustix::net::AddressFamily;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::netlink;

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;

const REQUEST: u16 = 0x001;
const ACKNOWLEDGE: u16 = 0x004;
const REPLACE: u16 = 0x100;
const CREATE: u16 = 0x400;

const ERROR: u16 = 2;
const HEADER_LENGTH: usize = 16;

/// `AF_INET6`.
const INET6: u8 = 10;
/// `IFF_UP`.
const UP: u32 = 1;

const LINK_MTU: u16 = 4;
const LINK_QUEUE_LENGTH: u16 = 13;
const LINK_SPECIFIC: u16 = 26;
const LINK_GSO_SEGMENTS_MAX: u16 = 40;
const LINK_INET6_ADDRESS_MODE: u16 = 8;
/// `IN6_ADDR_GEN_MODE_NONE`: no link-local address, hence no chatter of router discovery.
const ADDRESS_MODE_NONE: u8 = 1;

const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_FLAGS: u16 = 8;
/// `IFA_F_NODAD | IFA_F_NOPREFIXROUTE`: nobody else can have it, and routes are ours to set.
const ADDRESS_FLAG_BITS: u32 = 0x02 | 0x200;

const ROUTE_DESTINATION: u16 = 1;
const ROUTE_OUT_INTERFACE: u16 = 4;
const ROUTE_PREFERRED_SOURCE: u16 = 7;
const ROUTE_METRICS: u16 = 8;
const METRIC_MTU: u16 = 2;
/// `RT_TABLE_MAIN`.
const TABLE_MAIN: u8 = 254;
/// `RTPROT_STATIC`.
const PROTOCOL_STATIC: u8 = 4;
/// `RTN_UNICAST`.
const UNICAST: u8 = 1;

/// One request, ready to be sent but for its sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | REQUEST | ACKNOWLEDGE).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        Self(bytes).sized()
    }

    fn sized(mut self) -> Self {
        let length = u32::try_from(self.0.len()).unwrap_or_default();
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self
    }

    fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend_from_slice(&attribute(kind, value));
        self.sized()
    }
}

/// An attribute, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(value.len() + 8);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn link(index: u32, flags: u32) -> Message {
    let mut fixed = vec![0; 4];
    fixed.extend_from_slice(&index.to_ne_bytes());
    fixed.extend_from_slice(&flags.to_ne_bytes());
    fixed.extend_from_slice(&flags.to_ne_bytes());
    Message::new(NEW_LINK, 0, &fixed)
}

/// Packets as large as `mtu`, segmented pieces of at most `segments` of them, a queue of
/// `queue_length` pieces, no address but the one that is given.
#[must_use]
pub fn prepare_link(index: u32, mtu: u32, segments: u32, queue_length: u32) -> Message {
    let mode = attribute(LINK_INET6_ADDRESS_MODE, &[ADDRESS_MODE_NONE]);
    let specific = attribute(u16::from(INET6), &mode);
    link(index, 0)
        .with(LINK_MTU, &mtu.to_ne_bytes())
        .with(LINK_QUEUE_LENGTH, &queue_length.to_ne_bytes())
        .with(LINK_GSO_SEGMENTS_MAX, &segments.to_ne_bytes())
        .with(LINK_SPECIFIC, &specific)
}

/// Another size of packets and of segmented pieces.
#[must_use]
pub fn resize_link(index: u32, mtu: u32, segments: u32) -> Message {
    link(index, 0)
        .with(LINK_MTU, &mtu.to_ne_bytes())
        .with(LINK_GSO_SEGMENTS_MAX, &segments.to_ne_bytes())
}

/// Switches the device on.
#[must_use]
pub fn raise_link(index: u32) -> Message {
    link(index, UP)
}

/// Gives the device its one address.
#[must_use]
pub fn add_address(index: u32, address: Ipv6Addr) -> Message {
    let mut fixed = vec![INET6, 128, 0, 0];
    fixed.extend_from_slice(&index.to_ne_bytes());
    Message::new(NEW_ADDRESS, CREATE | REPLACE, &fixed)
        .with(ADDRESS_LOCAL, &address.octets())
        .with(ADDRESS, &address.octets())
        .with(ADDRESS_FLAGS, &ADDRESS_FLAG_BITS.to_ne_bytes())
}

fn route(kind: u16, flags: u16, index: u32, destination: Ipv6Addr) -> Message {
    let fixed = [INET6, 128, 0, 0, TABLE_MAIN, PROTOCOL_STATIC, 0, UNICAST, 0, 0, 0, 0];
    Message::new(kind, flags, &fixed)
        .with(ROUTE_DESTINATION, &destination.octets())
        .with(ROUTE_OUT_INTERFACE, &index.to_ne_bytes())
}

/// Leads what goes to `destination` into the device, from `source` unless a program says
/// otherwise, in packets of at most `mtu` bytes when that is less than the device's.
#[must_use]
pub fn add_route(index: u32, destination: Ipv6Addr, source: Ipv6Addr, mtu: Option<u32>) -> Message {
    let message = route(NEW_ROUTE, CREATE | REPLACE, index, destination)
        .with(ROUTE_PREFERRED_SOURCE, &source.octets());
    match mtu {
        Some(mtu) => message.with(ROUTE_METRICS, &attribute(METRIC_MTU, &mtu.to_ne_bytes())),
        None => message,
    }
}

/// Takes that back.
#[must_use]
pub fn remove_route(index: u32, destination: Ipv6Addr) -> Message {
    route(DELETE_ROUTE, 0, index, destination)
}

/// A connection to the kernel's network configuration of this network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens one.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open() -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is protocol 0.
            None,
        )?;
        rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Makes one request and waits for its answer, which the kernel gives at once.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn ask(&mut self, message: Message) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = message.0;
        bytes[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        let kernel = netlink::SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&self.socket, &bytes, SendFlags::empty(), &kernel)?;
        let mut answer = [0u8; 4_096];
        loop {
            let (length, _) = rustix::net::recv(&self.socket, &mut answer, RecvFlags::empty())?;
            if let Some(outcome) = outcome(answer.get(..length).unwrap_or_default(), self.sequence)
            {
                return outcome;
            }
        }
    }
}

/// What the kernel says about request `sequence`; none when it speaks of something else.
fn outcome(answer: &[u8], sequence: u32) -> Option<io::Result<()>> {
    let header = answer.first_chunk::<HEADER_LENGTH>()?;
    let word = |at: usize| {
        u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    if kind != ERROR || word(8) != sequence {
        return None;
    }
    let code = i32::from_ne_bytes(*answer.get(HEADER_LENGTH..)?.first_chunk::<4>()?);
    Some(match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_their_length_and_attributes_are_aligned() {
        let own = "fc00::1".parse().unwrap();
        let other = "fc00::2".parse().unwrap();
        for message in [
            prepare_link(7, 1_376, 44, 500),
            resize_link(7, 1_376, 44),
            raise_link(7),
            add_address(7, own),
            add_route(7, other, own, None),
            add_route(7, other, own, Some(1_300)),
            remove_route(7, other),
        ] {
            let bytes = message.0;
            assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len());
            assert_eq!(bytes.len() % 4, 0);
        }
        assert_eq!(attribute(8, &[1]), [5, 0, 8, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn an_answer_to_another_question_is_no_answer() {
        let mut answer = vec![0u8; 36];
        answer[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        answer[8..12].copy_from_slice(&3u32.to_ne_bytes());
        assert!(outcome(&answer, 3).unwrap().is_ok());
        assert!(outcome(&answer, 4).is_none());
        answer[16..20].copy_from_slice(&(-17i32).to_ne_bytes());
        let error = outcome(&answer, 3).unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(outcome(&answer[..15], 3).is_none());
        assert!(outcome(&answer[..18], 3).is_none());
    }
}
