//! Cutting what the kernel hands out in one piece into packets that fit the path (the
//! segmentation of RFC 9293 and the kernel's `Documentation/networking/segmentation-offloads`).
//! Checksums stay unmade: the receiver's kernel is told so, and the packet is authenticated anyway.

use crate::mesh::tun::packet::CWR;
use crate::mesh::tun::packet::FIN;
use crate::mesh::tun::packet::IPV6_HEADER;
use crate::mesh::tun::packet::PAYLOAD_LENGTH_AT;
use crate::mesh::tun::packet::PSH;
use crate::mesh::tun::packet::TCP_FLAGS_AT;
use crate::mesh::tun::packet::TCP_SEQUENCE_AT;
use crate::mesh::tun::packet::Transport;
use crate::mesh::tun::packet::UDP_LENGTH_AT;
use crate::mesh::tun::packet::partial_checksum;
use crate::mesh::tun::packet::pseudo_header_sum;
use crate::mesh::tun::packet::put_u16;
use crate::mesh::tun::packet::transport;
use crate::mesh::tun::virtio::Segmentation;
use crate::mesh::tun::virtio::VirtioHeader;

/// A packet of the device and how it is to be cut.
#[derive(Debug, Clone, Copy)]
pub struct Cut<'a> {
    packet: &'a [u8],
    transport: Option<Transport>,
    headers: usize,
    segment: usize,
    pseudo_header: u32,
    sequence: u32,
    /// How many packets it makes; at least one.
    pub count: usize,
    /// Whether the packets' checksums are left to the receiver.
    pub is_partial: bool,
}

impl<'a> Cut<'a> {
    /// Looks at a packet that the kernel handed out with `header`. None when the two do not fit
    /// each other. A checksum that cannot be left to the receiver (extension headers, another
    /// protocol) must have been completed before: see [`needs_completion`].
    #[must_use]
    pub fn new(header: &VirtioHeader, packet: &'a [u8]) -> Option<Self> {
        let behind = transport(packet);
        let (size, wanted) = match header.segmentation {
            Segmentation::Whole => {
                return Some(Self {
                    packet,
                    transport: None,
                    headers: 0,
                    segment: packet.len(),
                    pseudo_header: 0,
                    sequence: 0,
                    count: 1,
                    is_partial: header.checksum.is_some(),
                });
            }
            Segmentation::Tcp(size) => (size, Transport::Tcp),
            Segmentation::Udp(size) => (size, Transport::Udp),
        };
        let (found, headers) = behind?;
        if found != wanted {
            return None;
        }
        let segment = usize::from(size);
        let sequence = packet.get(TCP_SEQUENCE_AT..)?.first_chunk::<4>()?;
        Some(Self {
            packet,
            transport: Some(found),
            headers,
            segment,
            pseudo_header: pseudo_header_sum(packet, found.number()),
            sequence: u32::from_be_bytes(*sequence),
            count: (packet.len() - headers).div_ceil(segment).max(1),
            is_partial: true,
        })
    }

    /// Bytes of the longest packet it makes.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.packet.len().min(self.headers + self.segment)
    }

    /// Bytes of packet `index`.
    #[must_use]
    pub fn length(&self, index: usize) -> usize {
        let start = (self.headers + index * self.segment).min(self.packet.len());
        self.headers + self.segment.min(self.packet.len() - start)
    }

    /// Writes packet `index` to `out`, which is as long as [`Cut::length`] says.
    pub fn write(&self, index: usize, out: &mut [u8]) {
        let start = (self.headers + index * self.segment).min(self.packet.len());
        let payload = &self.packet[start..(start + self.segment).min(self.packet.len())];
        let Some((head, body)) = out.split_at_mut_checked(self.headers) else { return };
        if body.len() != payload.len() {
            return;
        }
        head.copy_from_slice(&self.packet[..self.headers]);
        body.copy_from_slice(payload);
        let Some(transport) = self.transport else { return };
        let length = out.len() - IPV6_HEADER;
        let length_field = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        put_u16(out, PAYLOAD_LENGTH_AT, length_field);
        let checksum = partial_checksum(self.pseudo_header, length);
        put_u16(out, IPV6_HEADER + transport.checksum_offset(), checksum);
        match transport {
            Transport::Udp => put_u16(out, UDP_LENGTH_AT, length_field),
            Transport::Tcp => self.write_tcp(index, out),
        }
    }

    fn write_tcp(&self, index: usize, out: &mut [u8]) {
        let before = u32::try_from(index * self.segment).unwrap_or_default();
        let sequence = self.sequence.wrapping_add(before).to_be_bytes();
        if let Some(field) = out.get_mut(TCP_SEQUENCE_AT..TCP_SEQUENCE_AT + 4) {
            field.copy_from_slice(&sequence);
        }
        let Some(flags) = out.get_mut(TCP_FLAGS_AT) else { return };
        if index + 1 < self.count {
            *flags &= !(FIN | PSH);
        }
        if index > 0 {
            *flags &= !CWR;
        }
    }
}

/// Where the checksum stands that must be completed here because a receiver would not find it: it
/// looks for TCP and UDP directly behind the IPv6 header only.
#[must_use]
pub fn needs_completion(header: &VirtioHeader, packet: &[u8]) -> Option<(usize, usize)> {
    let (start, offset) = header.checksum?;
    let place = (usize::from(start), usize::from(offset));
    let is_plain =
        transport(packet).is_some_and(|(found, _)| place == (IPV6_HEADER, found.checksum_offset()));
    (header.segmentation == Segmentation::Whole && !is_plain).then_some(place)
}
