//! Putting consecutive packets of one flow together again, so that the kernel takes them in one
//! piece: the payloads stay where they are, only the first packet's headers are rewritten.
//!
//! What may be joined is what the receiver's kernel cuts into the very same packets: equal headers
//! but for lengths, TCP's sequence, PSH and FIN, and checksums.

use std::io::IoSlice;

use crate::mesh::tun::packet::ACK;
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

/// Packets in one piece: what one receive of the socket can hold (the kernel's bound of UDP's
/// segmentation offload, `UDP_MAX_SEGMENTS`, is 64 on older kernels).
const PIECES_MAX: usize = 64;

/// An IPv6 packet's length field ends here.
const LENGTH_MAX: usize = 65_535;

/// Consecutive packets that make one.
#[derive(Default)]
pub struct Run<'a> {
    first: Option<First<'a>>,
    payloads: Vec<IoSlice<'a>>,
    /// Bytes of the whole piece.
    length: usize,
    /// FIN and PSH of the last packet.
    closing: u8,
    /// The last packet was shorter or closed the run: nothing may follow.
    is_closed: bool,
}

struct First<'a> {
    packet: &'a mut [u8],
    is_partial: bool,
    shape: Option<Shape>,
}

/// What a packet that can be joined looks like.
#[derive(Clone, Copy)]
struct Shape {
    transport: Transport,
    headers: usize,
    payload: usize,
}

/// A packet of a kind that can be joined: none for a fragment, another protocol, or TCP that does
/// more than carry data.
fn shape(packet: &[u8], is_partial: bool) -> Option<Shape> {
    if !is_partial {
        return None;
    }
    let (transport, headers) = transport(packet)?;
    let payload = packet.len() - headers;
    let is_plain = match transport {
        Transport::Tcp => packet[TCP_FLAGS_AT] & !(FIN | PSH) == ACK,
        Transport::Udp => true,
    };
    (is_plain && payload > 0).then_some(Shape { transport, headers, payload })
}

fn sequence(packet: &[u8]) -> u32 {
    let field = packet.get(TCP_SEQUENCE_AT..).and_then(<[u8]>::first_chunk::<4>);
    u32::from_be_bytes(field.copied().unwrap_or_default())
}

/// Whether the headers are equal where packets of one piece must be.
fn alike(first: &[u8], next: &[u8], shape: Shape) -> bool {
    let same = |from: usize, to: usize| first.get(from..to) == next.get(from..to);
    // Version, class and flow; protocol, hop limit and addresses.
    let network = same(0, 4) && same(6, IPV6_HEADER);
    network
        && match shape.transport {
            // Ports; acknowledgement and header length; window; urgent pointer and options.
            Transport::Tcp => {
                same(40, 44) && same(48, 53) && same(54, 56) && same(58, shape.headers)
            }
            Transport::Udp => same(40, 44),
        }
}

impl<'a> Run<'a> {
    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Appends a packet. Gives it back when it does not continue the run, which is then to be taken
    /// away first; an empty run takes every packet.
    ///
    /// # Errors
    /// The packet.
    pub fn push(&mut self, packet: &'a mut [u8], is_partial: bool) -> Result<(), &'a mut [u8]> {
        let found = shape(packet, is_partial);
        let Some(first) = &self.first else {
            self.length = packet.len();
            let is_last =
                |shape: Shape| shape.transport == Transport::Tcp && packet[TCP_FLAGS_AT] != ACK;
            self.is_closed = found.is_none_or(is_last);
            self.first = Some(First { packet, is_partial, shape: found });
            return Ok(());
        };
        let (Some(one), Some(next)) = (first.shape, found) else { return Err(packet) };
        let joins = !self.is_closed
            && one.transport == next.transport
            && one.headers == next.headers
            && next.payload <= one.payload
            && self.payloads.len() + 1 < PIECES_MAX
            && self.length + next.payload <= LENGTH_MAX
            && alike(first.packet, packet, one)
            && (one.transport == Transport::Udp || self.follows(first, one, packet));
        if !joins {
            return Err(packet);
        }
        self.length += next.payload;
        self.is_closed = next.payload < one.payload;
        if one.transport == Transport::Tcp {
            self.closing = packet[TCP_FLAGS_AT] & (FIN | PSH);
            self.is_closed |= self.closing != 0;
        }
        let packet: &'a [u8] = packet;
        self.payloads.push(IoSlice::new(&packet[next.headers..]));
        Ok(())
    }

    fn follows(&self, first: &First<'_>, shape: Shape, packet: &[u8]) -> bool {
        let carried = u32::try_from(self.length - shape.headers).unwrap_or_default();
        sequence(first.packet).wrapping_add(carried) == sequence(packet)
    }

    /// Takes the run away as one packet for the device: its header, and slices that follow each
    /// other, the first of which is for that header. None when it was empty.
    pub fn take(&mut self, write: impl FnOnce(&[IoSlice<'_>])) {
        let Some(First { packet, is_partial, shape }) = self.first.take() else { return };
        let is_joined = !self.payloads.is_empty();
        let known = shape.map(|shape| (shape.transport, shape.headers, shape.payload));
        let known = known.or_else(|| transport(packet).map(|(found, headers)| (found, headers, 0)));
        let header = match known {
            Some((transport, headers, payload)) if is_partial => {
                self.rewrite(packet, transport, is_joined);
                let size = u16::try_from(payload).unwrap_or_default();
                let segmentation = match transport {
                    _ if !is_joined => Segmentation::Whole,
                    Transport::Tcp => Segmentation::Tcp(size),
                    Transport::Udp => Segmentation::Udp(size),
                };
                let start = u16::try_from(IPV6_HEADER).unwrap_or_default();
                let offset = u16::try_from(transport.checksum_offset()).unwrap_or_default();
                let headers = u16::try_from(headers).unwrap_or_default();
                VirtioHeader { segmentation, checksum: Some((start, offset)), headers }
            }
            _ => VirtioHeader::WHOLE,
        };
        let bytes = header.bytes();
        if is_joined {
            let mut slices = Vec::with_capacity(self.payloads.len() + 2);
            slices.push(IoSlice::new(&bytes));
            slices.push(IoSlice::new(packet));
            slices.extend(self.payloads.iter().copied());
            write(&slices);
        } else {
            write(&[IoSlice::new(&bytes), IoSlice::new(packet)]);
        }
        self.payloads.clear();
        (self.length, self.closing, self.is_closed) = (0, 0, false);
    }

    /// Makes the first packet's headers those of the whole piece.
    fn rewrite(&self, packet: &mut [u8], transport: Transport, is_joined: bool) {
        let length = self.length - IPV6_HEADER;
        let sum = pseudo_header_sum(packet, transport.number());
        let checksum = partial_checksum(sum, length);
        put_u16(packet, IPV6_HEADER + transport.checksum_offset(), checksum);
        if !is_joined {
            return;
        }
        let field = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        put_u16(packet, PAYLOAD_LENGTH_AT, field);
        match transport {
            Transport::Udp => put_u16(packet, UDP_LENGTH_AT, field),
            Transport::Tcp => {
                if let Some(flags) = packet.get_mut(TCP_FLAGS_AT) {
                    *flags |= self.closing;
                }
            }
        }
    }
}
