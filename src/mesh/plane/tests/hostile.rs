//! Outsiders that inject, relays that alter, copies of what was sent before.

use super::*;
use crate::mesh::plane::header::BOUND_PLACE;
use crate::mesh::plane::header::HEADROOM;
use crate::mesh::plane::header::Header;
use crate::mesh::plane::header::OVERHEAD;
use crate::mesh::plane::header::ROUTE_PLACE;
use crate::mesh::plane::header::SEALED_PLACE;

/// Signs a datagram for the next hop again, as the relay can.
fn sign_as_relay(datagram: &mut [u8], counter: u64) {
    let sender = HopSender::new(&[23; 32], 3 << 16 | 2);
    for _ in 0..=counter {
        sender.sign(datagram).unwrap();
    }
}

#[test]
fn no_bit_can_be_changed_between_neighbours() {
    for suite in SUITES {
        let planes = row(suite);
        let datagram = sealed(&planes, b"some payload");
        let payload_at = SEALED_PLACE..datagram.len() - 16;
        for place in (0..datagram.len()).filter(|place| !payload_at.contains(place)) {
            for bit in 0..8 {
                let mut bent = datagram.clone();
                bent[place] ^= 1 << bit;
                let verdict = planes[1].receive(NOW, endpoint(1), &mut bent);
                let other_kind = place < 4 && verdict == Verdict::Control;
                assert!(other_kind || verdict == Verdict::Drop, "byte {place}");
            }
        }
        assert!(planes[1].take_events().is_empty());
        let verdict = planes[1].receive(NOW, endpoint(1), &mut datagram.clone()) != Verdict::Drop;
        assert!(verdict);
    }
}

#[test]
fn a_relay_can_change_nothing_but_the_ttl() {
    let planes = row(Suite::Aes256Gcm);
    let datagram = sealed(&planes, b"some payload");
    let mut counter = 0;
    for place in BOUND_PLACE..datagram.len() {
        let mut bent = datagram.clone();
        bent[place] ^= 0x10;
        sign_as_relay(&mut bent, counter);
        counter += 1;
        assert_eq!(planes[2].receive(NOW, endpoint(2), &mut bent), Verdict::Drop, "byte {place}");
    }
    let mut late = datagram.clone();
    late[ROUTE_PLACE] -= 1;
    sign_as_relay(&mut late, counter);
    let mut expected = b"some payload".to_vec();
    assert_eq!(planes[2].receive(NOW, endpoint(2), &mut late), delivered(1, &mut expected));
}

#[test]
fn copies_are_dropped_at_the_hop_and_at_the_end() {
    for suite in SUITES {
        let planes = row(suite);
        let first = sealed(&planes, b"payload");
        let mut passed = first.clone();
        let verdict = planes[1].receive(NOW, endpoint(1), &mut passed);
        assert_eq!(verdict, Verdict::Forward { destination: endpoint(3) });
        assert_eq!(planes[1].receive(NOW, endpoint(1), &mut first.clone()), Verdict::Drop);
        let mut opened = passed.clone();
        let verdict = planes[2].receive(NOW, endpoint(2), &mut opened);
        assert!(matches!(verdict, Verdict::Deliver { .. }));
        assert_eq!(planes[2].receive(NOW, endpoint(2), &mut passed.clone()), Verdict::Drop);
    }
    // The relay signs a copy anew: the end still has seen it.
    let planes = row(Suite::Aes256Gcm);
    let datagram = sealed(&planes, b"payload");
    for (counter, expected) in [(0, true), (1, false), (2, false)] {
        let mut copy = datagram.clone();
        sign_as_relay(&mut copy, counter);
        let verdict = planes[2].receive(NOW, endpoint(2), &mut copy);
        assert_eq!(matches!(verdict, Verdict::Deliver { .. }), expected);
    }
}

#[test]
fn what_comes_back_to_its_sender_is_dropped() {
    for suite in SUITES {
        let planes = row(suite);
        let mut datagram = sealed(&planes, b"payload");
        assert_eq!(planes[0].take_events(), [PlaneEvent::LinkLoaded(address(2))]);
        assert_eq!(planes[0].receive(NOW, endpoint(2), &mut datagram), Verdict::Drop);
        assert!(planes[0].take_events().is_empty());
    }
}

#[test]
fn a_source_that_lies_is_not_believed() {
    let planes = row(Suite::Aes256Gcm);
    let mut datagram = sealed(&planes, b"payload");
    let mut header = Header::read(&datagram).unwrap();
    header.source = address(2);
    header.write(&mut datagram).unwrap();
    sign_as_relay(&mut datagram, 0);
    assert_eq!(planes[2].receive(NOW, endpoint(2), &mut datagram), Verdict::Drop);
    // Nor is one that names no session.
    header.session = 7;
    header.write(&mut datagram).unwrap();
    sign_as_relay(&mut datagram, 1);
    planes[2].take_events().clear();
    assert_eq!(planes[2].receive(NOW, endpoint(2), &mut datagram), Verdict::Drop);
    let unknown = PlaneEvent::SessionUnknown { peer: address(2), neighbour: address(2) };
    assert_eq!(planes[2].take_events(), [unknown]);
}

#[test]
fn truncated_and_arbitrary_bytes_are_dropped() {
    let planes = row(Suite::Aes256Gcm);
    let datagram = sealed(&planes, b"some payload");
    for length in 0..datagram.len() {
        let mut short = datagram[..length].to_vec();
        let verdict = planes[1].receive(NOW, endpoint(1), &mut short);
        assert_eq!(verdict == Verdict::Drop, length >= 4, "{length}");
    }
    bolero::check!().with_iterations(5000).for_each(|bytes: &[u8]| {
        let mut datagram = vec![1, 4, 0, 0];
        datagram.extend_from_slice(bytes);
        if let Some(header) = Header::read(&datagram) {
            let mut again = datagram.clone();
            header.write(&mut again).unwrap();
            assert_eq!(Header::read(&again), Some(header));
        }
        assert_eq!(planes[1].receive(NOW, endpoint(1), &mut datagram), Verdict::Drop);
        assert!(planes[1].take_events().is_empty());
    });
    const { assert!(HEADROOM + 16 == OVERHEAD && OVERHEAD <= 96) };
}

#[test]
fn a_moved_neighbour_is_followed_only_by_its_newest_packet() {
    let planes = row(Suite::Aes256Gcm);
    let [mut first, mut second] = [b"one", b"two"].map(|payload| sealed(&planes, payload));
    let moved = |source: u16, datagram: &mut [u8]| {
        planes[1].receive(NOW, endpoint(source), datagram);
        let events = planes[1].take_events();
        events.into_iter().any(|event| matches!(event, PlaneEvent::LinkMoved { .. }))
    };
    assert!(moved(9, &mut second));
    assert!(!moved(8, &mut first));
}
