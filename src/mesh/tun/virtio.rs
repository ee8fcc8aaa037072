//! The header before every packet of the device: how the kernel and we leave segmentation and
//! checksums to each other (`struct virtio_net_hdr` of virtio 1.2, 5.1.6, without `num_buffers`).

/// Bytes of the header, the kernel's default for a TUN device.
pub const HEADER_LENGTH: usize = 10;

/// The checksum is left to the receiver: `checksum_start` and `checksum_offset` say which.
const NEEDS_CHECKSUM: u8 = 1;

const GSO_NONE: u8 = 0;
const GSO_TCP6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// Set beside a TCP type when the first segment carries CWR.
const GSO_ECN: u8 = 0x80;

/// What a packet is cut into, or was put together of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segmentation {
    /// One packet.
    Whole,
    /// TCP segments over IPv6 with this many payload bytes each, the last with at most as many.
    Tcp(u16),
    /// UDP datagrams over IPv6, likewise.
    Udp(u16),
}

/// The header, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtioHeader {
    /// Into what the packet is to be cut.
    pub segmentation: Segmentation,
    /// Where the checksum is that is yet to be made: first byte it covers, and its place after that.
    pub checksum: Option<(u16, u16)>,
    /// Bytes of all headers of the packet; only a hint when it is not segmented.
    pub headers: u16,
}

impl VirtioHeader {
    /// A finished packet.
    pub const WHOLE: Self = Self { segmentation: Segmentation::Whole, checksum: None, headers: 0 };

    /// Reads the header; gives the packet behind it. None for what we did not ask the kernel for.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (header, packet) = bytes.split_first_chunk::<HEADER_LENGTH>()?;
        let [flags, kind, rest @ ..] = *header;
        let [h0, h1, s0, s1, c0, c1, o0, o1] = rest;
        let size = u16::from_ne_bytes([s0, s1]);
        let segmentation = match kind & !GSO_ECN {
            GSO_NONE => Segmentation::Whole,
            GSO_TCP6 if size > 0 => Segmentation::Tcp(size),
            GSO_UDP_L4 if size > 0 => Segmentation::Udp(size),
            _ => return None,
        };
        let place = (u16::from_ne_bytes([c0, c1]), u16::from_ne_bytes([o0, o1]));
        let checksum = (flags & NEEDS_CHECKSUM != 0).then_some(place);
        Some((Self { segmentation, checksum, headers: u16::from_ne_bytes([h0, h1]) }, packet))
    }

    /// The header's bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; HEADER_LENGTH] {
        let (kind, size) = match self.segmentation {
            Segmentation::Whole => (GSO_NONE, 0),
            Segmentation::Tcp(size) => (GSO_TCP6, size),
            Segmentation::Udp(size) => (GSO_UDP_L4, size),
        };
        let flags = if self.checksum.is_some() { NEEDS_CHECKSUM } else { 0 };
        let (start, offset) = self.checksum.unwrap_or_default();
        let [h0, h1] = self.headers.to_ne_bytes();
        let [s0, s1] = size.to_ne_bytes();
        let [c0, c1] = start.to_ne_bytes();
        let [o0, o1] = offset.to_ne_bytes();
        [flags, kind, h0, h1, s0, s1, c0, c1, o0, o1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_way() {
        for segmentation in [Segmentation::Whole, Segmentation::Tcp(1_304), Segmentation::Udp(9)] {
            for checksum in [None, Some((40, 16))] {
                let header = VirtioHeader { segmentation, checksum, headers: 72 };
                let mut bytes = header.bytes().to_vec();
                bytes.extend_from_slice(b"packet");
                assert_eq!(VirtioHeader::read(&bytes), Some((header, &b"packet"[..])));
            }
        }
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        let mut bytes = VirtioHeader::WHOLE.bytes();
        assert_eq!(VirtioHeader::read(&bytes[..9]), None);
        // Segmentation of TCP over IPv4, of UDP by fragments, and TCP without a size.
        for kind in [1, 3, 4] {
            bytes[1] = kind;
            assert_eq!(VirtioHeader::read(&bytes), None, "kind {kind}");
        }
    }
}
