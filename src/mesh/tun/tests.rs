use std::io::IoSlice;

use proptest::prelude::*;

use crate::mesh::tun::coalesce::Run;
use crate::mesh::tun::cut::Cut;
use crate::mesh::tun::cut::needs_completion;
use crate::mesh::tun::packet::ACK;
use crate::mesh::tun::packet::CWR;
use crate::mesh::tun::packet::FIN;
use crate::mesh::tun::packet::IPV6_HEADER;
use crate::mesh::tun::packet::PSH;
use crate::mesh::tun::packet::SYN;
use crate::mesh::tun::packet::TCP_FLAGS_AT;
use crate::mesh::tun::packet::TCP_SEQUENCE_AT;
use crate::mesh::tun::packet::Transport;
use crate::mesh::tun::packet::addresses;
use crate::mesh::tun::packet::complete_checksum;
use crate::mesh::tun::packet::fold;
use crate::mesh::tun::packet::partial_checksum;
use crate::mesh::tun::packet::pseudo_header_sum;
use crate::mesh::tun::packet::put_u16;
use crate::mesh::tun::packet::sum;
use crate::mesh::tun::virtio::Segmentation;
use crate::mesh::tun::virtio::VirtioHeader;

/// A packet as the kernel hands it out, its checksum unmade.
fn packet(transport: Transport, options: usize, payload: &[u8]) -> Vec<u8> {
    let head = match transport {
        Transport::Tcp => 20 + options * 4,
        Transport::Udp => 8,
    };
    let length = u16::try_from(head + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![0u8; IPV6_HEADER + head];
    packet[..4].copy_from_slice(&[0x60, 0x0a, 0xbc, 0xde]);
    packet[4..6].copy_from_slice(&length);
    packet[6] = transport.number();
    packet[7] = 64;
    packet[8..24].copy_from_slice(&[0xfc; 16]);
    packet[24..40].copy_from_slice(&[0xfd; 16]);
    packet[40..44].copy_from_slice(&[0x30, 0x39, 0x14, 0x51]);
    match transport {
        Transport::Udp => packet[44..46].copy_from_slice(&length),
        Transport::Tcp => {
            packet[TCP_SEQUENCE_AT..TCP_SEQUENCE_AT + 4].copy_from_slice(&[0xff, 0xff, 0xf0, 0]);
            packet[48..52].copy_from_slice(&[1, 2, 3, 4]);
            packet[52] = u8::try_from(head / 4).unwrap() << 4;
            packet[TCP_FLAGS_AT] = ACK;
            packet[54..56].copy_from_slice(&[0x12, 0x34]);
            packet[60..IPV6_HEADER + head].fill(1);
        }
    }
    packet.extend_from_slice(payload);
    let sum = pseudo_header_sum(&packet, transport.number());
    let checksum = partial_checksum(sum, packet.len() - IPV6_HEADER);
    put_u16(&mut packet, IPV6_HEADER + transport.checksum_offset(), checksum);
    packet
}

fn header(transport: Transport, segmentation: Segmentation) -> VirtioHeader {
    let offset = u16::try_from(transport.checksum_offset()).unwrap();
    VirtioHeader { segmentation, checksum: Some((40, offset)), headers: 0 }
}

fn cut(header: &VirtioHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let cut = Cut::new(header, packet).unwrap();
    let packets = (0..cut.count).map(|index| {
        let mut out = vec![0; cut.length(index)];
        cut.write(index, &mut out);
        out
    });
    let packets: Vec<_> = packets.collect();
    assert_eq!(packets.iter().map(Vec::len).max().unwrap(), cut.longest());
    packets
}

/// What reaches the device: each piece with its header.
fn join(packets: &mut [Vec<u8>], is_partial: bool) -> Vec<(VirtioHeader, Vec<u8>)> {
    let mut pieces = Vec::new();
    let mut run = Run::default();
    let mut take = |run: &mut Run<'_>| {
        run.take(|slices: &[IoSlice<'_>]| {
            let bytes = slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<_>>();
            let (header, packet) = VirtioHeader::read(&bytes).unwrap();
            pieces.push((header, packet.to_vec()));
        });
    };
    for packet in packets {
        if let Err(packet) = run.push(packet, is_partial) {
            take(&mut run);
            assert!(run.is_empty());
            assert!(run.push(packet, is_partial).is_ok());
        }
    }
    take(&mut run);
    pieces
}

/// Whether the checksum holds once it is completed.
fn is_sound(transport: Transport, packet: &[u8]) -> bool {
    let mut packet = packet.to_vec();
    let length = u32::try_from(packet.len() - IPV6_HEADER).unwrap();
    assert!(complete_checksum(&mut packet, IPV6_HEADER, transport.checksum_offset()));
    let pseudo = pseudo_header_sum(&packet, transport.number()) + length;
    fold(sum(pseudo, &packet[IPV6_HEADER..])) == 0xffff
}

proptest! {
    #[test]
    fn what_is_cut_and_joined_is_the_same(
        is_tcp: bool,
        options in 0usize..6,
        length in 1usize..60_000,
        size in 900u16..9_000,
        flags in prop::sample::select(vec![ACK, ACK | PSH, ACK | FIN, ACK | PSH | FIN]),
    ) {
        let transport = if is_tcp { Transport::Tcp } else { Transport::Udp };
        let payload: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut whole = packet(transport, options, &payload);
        if is_tcp {
            whole[TCP_FLAGS_AT] = flags;
        }
        let kind = if is_tcp { Segmentation::Tcp } else { Segmentation::Udp };
        let mut packets = cut(&header(transport, kind(size)), &whole);
        prop_assert_eq!(packets.len(), length.div_ceil(usize::from(size)));
        for packet in &packets {
            prop_assert!(addresses(packet).is_some());
            prop_assert!(is_sound(transport, packet));
        }
        let pieces = join(&mut packets, true);
        if length.div_ceil(usize::from(size)) <= 64 {
            prop_assert_eq!(pieces.len(), 1);
            let (header, joined) = &pieces[0];
            let expected = if length > usize::from(size) { kind(size) } else { Segmentation::Whole };
            prop_assert_eq!(header.segmentation, expected);
            prop_assert_eq!(joined, &whole);
        }
        // However many pieces: cut again they are the same packets.
        let mut again = Vec::new();
        for (header, piece) in &pieces {
            again.extend(cut(header, piece));
        }
        let mut packets = cut(&super::tests::header(transport, kind(size)), &whole);
        prop_assert_eq!(&again, &packets);
        // With finished checksums nothing is joined, and nothing is left to the kernel.
        let finished = join(&mut packets, false);
        prop_assert_eq!(finished.len(), again.len());
        prop_assert!(finished.iter().all(|(header, _)| *header == VirtioHeader::WHOLE));
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..6) {
        survive(bytes, kind);
    }
}

fn survive(mut bytes: Vec<u8>, kind: u8) {
    if let Some(place) = bytes.get_mut(1) {
        *place = [0, 4, 5, 0x84, 1, *place][usize::from(kind % 6)];
    }
    let Some((header, packet)) = VirtioHeader::read(&bytes) else { return };
    let _ = needs_completion(&header, packet);
    let _ = super::icmp::packet_too_big(packet, 1_280);
    if let Some((start, offset)) = header.checksum {
        complete_checksum(&mut packet.to_vec(), usize::from(start), usize::from(offset));
    }
    let Some(found) = Cut::new(&header, packet) else { return };
    for index in 0..found.count.min(100) {
        let mut out = vec![0; found.length(index)];
        found.write(index, &mut out);
    }
    let mut packets: Vec<_> = packet.chunks(60).map(<[u8]>::to_vec).collect();
    join(&mut packets, true);
    let mut same = vec![packet.to_vec(); 3];
    join(&mut same, true);
}

#[test]
fn fuzzed_packets_never_panic() {
    bolero::check!().with_iterations(2_000).with_type::<(Vec<u8>, u8)>().for_each(
        |(bytes, kind)| {
            survive(bytes.clone(), *kind);
            let mut plausible = packet(Transport::Tcp, 3, bytes);
            for (at, byte) in bytes.iter().enumerate() {
                let place = at * 7 % plausible.len();
                plausible[place] ^= byte;
            }
            let mut with_header = header(Transport::Tcp, Segmentation::Tcp(100)).bytes().to_vec();
            with_header.extend_from_slice(&plausible);
            survive(with_header, *kind);
        },
    );
}

fn segments() -> Vec<Vec<u8>> {
    let whole = packet(Transport::Tcp, 3, &[7; 5_000]);
    cut(&header(Transport::Tcp, Segmentation::Tcp(1_000)), &whole)
}

#[test]
fn a_gap_another_flow_and_another_kind_begin_a_new_piece() {
    let changes: [fn(&mut Vec<u8>); 8] = [
        |packet| packet[41] ^= 1,                  // source port
        |packet| packet[23] ^= 1,                  // source address
        |packet| packet[7] ^= 1,                   // hop limit
        |packet| packet[1] ^= 0x20,                // traffic class (ECN)
        |packet| packet[TCP_SEQUENCE_AT + 3] ^= 1, // a gap
        |packet| packet[51] ^= 1,                  // acknowledgement
        |packet| packet[65] ^= 1,                  // an option
        |packet| packet[TCP_FLAGS_AT] |= SYN,
    ];
    assert_eq!(join(&mut segments(), true).len(), 1);
    for (index, change) in changes.into_iter().enumerate() {
        let mut packets = segments();
        change(&mut packets[2]);
        let pieces = join(&mut packets, true);
        let lengths: Vec<_> = pieces.iter().map(|(_, piece)| piece.len()).collect();
        assert_eq!(lengths, [2_072, 1_072, 2_072], "change {index}");
    }
}

#[test]
fn the_end_of_a_burst_keeps_its_flags_and_closes_the_piece() {
    let mut packets = segments();
    packets[1][TCP_FLAGS_AT] |= PSH;
    let pieces = join(&mut packets, true);
    assert_eq!(pieces.len(), 2);
    assert_eq!(pieces[0].1[TCP_FLAGS_AT], ACK | PSH);
    assert_eq!(pieces[1].1[TCP_FLAGS_AT], ACK);
    // Only the first segment says that the window was reduced, only the last that data ends.
    let mut whole = packet(Transport::Tcp, 0, &[7; 3_000]);
    whole[TCP_FLAGS_AT] = ACK | CWR | PSH | FIN;
    let packets = cut(&header(Transport::Tcp, Segmentation::Tcp(1_000)), &whole);
    let flags: Vec<u8> = packets.iter().map(|packet| packet[TCP_FLAGS_AT]).collect();
    assert_eq!(flags, [ACK | CWR, ACK, ACK | PSH | FIN]);
}

#[test]
fn a_checksum_nobody_would_find_is_completed_here() {
    let mut echo = packet(Transport::Udp, 0, b"ping");
    assert_eq!(needs_completion(&header(Transport::Udp, Segmentation::Whole), &echo), None);
    echo[6] = 58;
    let place = needs_completion(&header(Transport::Udp, Segmentation::Whole), &echo);
    assert_eq!(place, Some((40, 6)));
    assert!(!complete_checksum(&mut echo, 40, 20));
    assert!(!complete_checksum(&mut echo, 4_000, 6));
}
