//! IPv6 packets as far as the device needs them: addresses, lengths, and the headers of TCP and
//! UDP directly behind (RFC 8200, 9293, 768).

use std::net::Ipv6Addr;

/// Bytes of an IPv6 header.
pub const IPV6_HEADER: usize = 40;
/// Bytes of a UDP header.
pub const UDP_HEADER: usize = 8;
/// Bytes of a TCP header without options.
pub const TCP_HEADER: usize = 20;

/// Protocol numbers.
pub const TCP: u8 = 6;
/// See [`TCP`].
pub const UDP: u8 = 17;
/// See [`TCP`].
pub const ICMPV6: u8 = 58;

/// Places inside a packet without extension headers.
pub const PAYLOAD_LENGTH_AT: usize = 4;
/// Place of the transport protocol's number.
pub const NEXT_HEADER_AT: usize = 6;
/// Place of TCP's sequence number.
pub const TCP_SEQUENCE_AT: usize = IPV6_HEADER + 4;
/// Place of TCP's header length, in its upper half.
pub const TCP_OFFSET_AT: usize = IPV6_HEADER + 12;
/// Place of TCP's flags.
pub const TCP_FLAGS_AT: usize = IPV6_HEADER + 13;
/// Place of UDP's length.
pub const UDP_LENGTH_AT: usize = IPV6_HEADER + 4;

/// Offsets of the checksums inside their headers.
pub const TCP_CHECKSUM_OFFSET: usize = 16;
/// See [`TCP_CHECKSUM_OFFSET`].
pub const UDP_CHECKSUM_OFFSET: usize = 6;

/// Flags of TCP.
pub const FIN: u8 = 0x01;
/// Synchronise.
pub const SYN: u8 = 0x02;
/// Reset.
pub const RST: u8 = 0x04;
/// Push.
pub const PSH: u8 = 0x08;
/// Acknowledgement.
pub const ACK: u8 = 0x10;
/// Urgent.
pub const URG: u8 = 0x20;
/// Congestion window reduced.
pub const CWR: u8 = 0x80;

/// The transport header of a packet without extension headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Where its checksum stands inside the transport header.
    #[must_use]
    pub fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp => TCP_CHECKSUM_OFFSET,
            Self::Udp => UDP_CHECKSUM_OFFSET,
        }
    }

    /// Its protocol number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => TCP,
            Self::Udp => UDP,
        }
    }
}

/// Source and destination of a packet that says its own length rightly.
#[must_use]
pub fn addresses(packet: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let header = packet.first_chunk::<IPV6_HEADER>()?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[0] >> 4 != 6 || length != packet.len() - IPV6_HEADER {
        return None;
    }
    let source: [u8; 16] = header[8..24].try_into().ok()?;
    let destination: [u8; 16] = header[24..40].try_into().ok()?;
    Some((source.into(), destination.into()))
}

/// TCP or UDP directly behind the IPv6 header, and the bytes of both headers. None for everything
/// else, cut off headers included.
#[must_use]
pub fn transport(packet: &[u8]) -> Option<(Transport, usize)> {
    match *packet.get(NEXT_HEADER_AT)? {
        TCP => {
            let offset = usize::from(*packet.get(TCP_OFFSET_AT)? >> 4) * 4;
            let headers = IPV6_HEADER + offset;
            (offset >= TCP_HEADER && packet.len() >= headers).then_some((Transport::Tcp, headers))
        }
        UDP => {
            let headers = IPV6_HEADER + UDP_HEADER;
            (packet.len() >= headers).then_some((Transport::Udp, headers))
        }
        _ => None,
    }
}

/// Adds `bytes` to a ones' complement sum as 16-bit words, an odd last byte padded with zero.
#[must_use]
pub fn sum(start: u32, bytes: &[u8]) -> u32 {
    let mut total = u64::from(start);
    let words = bytes.chunks_exact(2);
    if let [last] = words.remainder() {
        total += u64::from(u16::from_be_bytes([*last, 0]));
    }
    for word in words {
        if let [high, low] = *word {
            total += u64::from(u16::from_be_bytes([high, low]));
        }
    }
    u32::from(fold64(total))
}

fn fold64(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap_or(u16::MAX)
}

/// A sum brought to 16 bits.
#[must_use]
pub fn fold(total: u32) -> u16 {
    fold64(u64::from(total))
}

/// Sum of the addresses and the protocol: the pseudo-header of RFC 8200, 8.1, without its length.
#[must_use]
pub fn pseudo_header_sum(packet: &[u8], protocol: u8) -> u32 {
    sum(u32::from(protocol), packet.get(8..IPV6_HEADER).unwrap_or_default())
}

/// The sum that stands in a checksum field which the receiver completes: the pseudo-header's with
/// the transport's length.
#[must_use]
pub fn partial_checksum(pseudo_header: u32, length: usize) -> [u8; 2] {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    fold64(u64::from(pseudo_header) + u64::from(length)).to_be_bytes()
}

/// Completes the checksum of a packet that covers everything from `start`, in whose field at
/// `start + offset` the pseudo-header's sum stands. `false` when it is not inside the packet.
pub fn complete_checksum(packet: &mut [u8], start: usize, offset: usize) -> bool {
    let Some(covered) = packet.get(start..) else { return false };
    let value = !fold(sum(0, covered));
    // Zero means "none" for UDP and is the same number as all ones for everybody.
    let value = if value == 0 { 0xffff } else { value };
    let Some(field) = start.checked_add(offset).and_then(|at| packet.get_mut(at..at + 2)) else {
        return false;
    };
    field.copy_from_slice(&value.to_be_bytes());
    true
}

/// Overwrites the 16-bit field at `at`, if the packet is that long.
pub fn put_u16(packet: &mut [u8], at: usize, value: [u8; 2]) {
    if let Some(field) = packet.get_mut(at..at + 2) {
        field.copy_from_slice(&value);
    }
}
