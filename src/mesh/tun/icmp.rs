//! "Packet Too Big" (RFC 4443, 3.2), said to the machine's own programs.

use std::net::Ipv6Addr;

use crate::mesh::tun::packet::ICMPV6;
use crate::mesh::tun::packet::IPV6_HEADER;
use crate::mesh::tun::packet::NEXT_HEADER_AT;
use crate::mesh::tun::packet::complete_checksum;
use crate::mesh::tun::packet::partial_checksum;
use crate::mesh::tun::packet::pseudo_header_sum;
use crate::mesh::tun::packet::put_u16;

/// Least MTU of IPv6 (RFC 8200, 5): an error packet is never longer, and no path may be smaller.
pub const MTU_MIN: usize = 1_280;

const ERROR_HEADER: usize = 8;
const PACKET_TOO_BIG: u8 = 2;
/// Errors are types below 128; none is sent about one (RFC 4443, 2.4 e).
const FIRST_INFORMATIONAL: u8 = 128;
const HOP_LIMIT: u8 = 64;

/// The error about `packet`, which is longer than the `mtu` of its path, as if its destination had
/// sent it. None about multicast and about other errors.
#[must_use]
pub fn packet_too_big(packet: &[u8], mtu: usize) -> Option<Vec<u8>> {
    let header = packet.first_chunk::<IPV6_HEADER>()?;
    let sender: [u8; 16] = header[8..24].try_into().ok()?;
    let destination: [u8; 16] = header[24..40].try_into().ok()?;
    let is_error = header[NEXT_HEADER_AT] == ICMPV6
        && packet.get(IPV6_HEADER).is_none_or(|kind| *kind < FIRST_INFORMATIONAL);
    if is_error || Ipv6Addr::from(destination).is_multicast() {
        return None;
    }
    let quoted = &packet[..packet.len().min(MTU_MIN - IPV6_HEADER - ERROR_HEADER)];
    let length = ERROR_HEADER + quoted.len();
    let mut error = Vec::with_capacity(IPV6_HEADER + length);
    error.extend_from_slice(&[0x60, 0, 0, 0]);
    error.extend_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
    error.extend_from_slice(&[ICMPV6, HOP_LIMIT]);
    error.extend_from_slice(&destination);
    error.extend_from_slice(&sender);
    error.extend_from_slice(&[PACKET_TOO_BIG, 0, 0, 0]);
    error.extend_from_slice(&u32::try_from(mtu.max(MTU_MIN)).ok()?.to_be_bytes());
    error.extend_from_slice(quoted);
    let sum = pseudo_header_sum(&error, ICMPV6);
    put_u16(&mut error, IPV6_HEADER + 2, partial_checksum(sum, length));
    complete_checksum(&mut error, IPV6_HEADER, 2).then_some(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::tun::packet::addresses;
    use crate::mesh::tun::packet::fold;
    use crate::mesh::tun::packet::sum;

    fn packet(next_header: u8, length: usize) -> Vec<u8> {
        let mut packet = vec![0u8; IPV6_HEADER + length];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        packet[6] = next_header;
        packet[8] = 0xfc;
        packet[23] = 1;
        packet[24] = 0xfc;
        packet[39] = 2;
        packet
    }

    #[test]
    fn the_error_goes_back_with_the_mtu_and_a_sound_checksum() {
        let long = packet(6, 3_000);
        let error = packet_too_big(&long, 1_356).unwrap();
        let (source, destination) = addresses(&error).unwrap();
        assert_eq!((source, destination), {
            let (from, to) = addresses(&long).unwrap();
            (to, from)
        });
        assert_eq!(error.len(), MTU_MIN);
        assert_eq!(error[40], 2);
        assert_eq!(error[44..48], 1_356u32.to_be_bytes());
        assert_eq!(error[48..], long[..MTU_MIN - 48]);
        let length = u32::try_from(error.len() - IPV6_HEADER).unwrap();
        let total = sum(pseudo_header_sum(&error, ICMPV6) + length, &error[IPV6_HEADER..]);
        assert_eq!(fold(total), 0xffff);
    }

    #[test]
    fn no_error_about_errors_or_to_many() {
        let mut about_error = packet(ICMPV6, 3_000);
        assert_eq!(packet_too_big(&about_error, 1_400), None);
        about_error[40] = 128;
        assert!(packet_too_big(&about_error, 1_400).is_some());
        about_error[24] = 0xff;
        assert_eq!(packet_too_big(&about_error, 1_400), None);
        assert_eq!(packet_too_big(&about_error[..39], 1_400), None);
    }
}
