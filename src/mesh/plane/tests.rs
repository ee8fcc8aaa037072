//! Three machines' planes in one room: one end, a relay, the other end.

use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::event::PlaneEvent;
use super::header::InnerProtocol;
use super::hop::HopReceiver;
use super::hop::HopSender;
use super::keys::Keys;
use super::receive::Verdict;
use super::sender::Sender;
use super::session::EndSession;
use super::session::Names;
use super::suite::Suite;
use super::table::Outbound;
use super::table::Plane;
use crate::model::time::Moment;

mod hostile;
mod vectors;

const SUITES: [Suite; 2] = [Suite::ChaCha20Poly1305, Suite::Aes256Gcm];
const NOW: Moment = Moment::at(Duration::from_secs(5));
const REKEY_AFTER: Duration = Duration::from_secs(120);
const REJECT_AFTER: Duration = Duration::from_secs(180);

fn address(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, number)
}

fn endpoint(number: u16) -> SocketAddr {
    SocketAddr::new([192, 0, 2, 1].into(), 1_000 + number)
}

fn keys(suite: Suite, sending: u8, receiving: u8) -> Keys {
    let (sending, receiving) = (Zeroizing::new([sending; 32]), Zeroizing::new([receiving; 32]));
    Keys { sending, receiving, suite }
}

/// Puts one direction of a link between two planes.
fn link(from: &Plane, to: &Plane, numbers: (u16, u16), secrets: (u8, u8)) {
    let (here, there) = numbers;
    let index = |number: u16, of: u16| u32::from(number) << 16 | u32::from(of);
    let sender = HopSender::new(&[secrets.0; 32], index(there, here));
    let receiver = HopReceiver::new(&[secrets.1; 32], index(here, there));
    let outbound = Outbound {
        keys: Arc::new(sender),
        endpoint: endpoint(there),
        datagram_max: 1_452,
        traffic: Arc::default(),
    };
    from.set_link(to.own(), Some(outbound), [Arc::new(receiver)]);
}

/// Machines 1, 2 and 3 in a row, and a session between 1 and 3.
fn row(suite: Suite) -> [Plane; 3] {
    let planes = [1, 2, 3].map(|number| Plane::new(address(number), REKEY_AFTER, REJECT_AFTER));
    let [one, two, three] = &planes;
    link(one, two, (1, 2), (12, 21));
    link(three, two, (3, 2), (32, 23));
    link(two, one, (2, 1), (21, 12));
    link(two, three, (2, 3), (23, 32));
    one.set_routes([(address(2), address(2)), (address(3), address(2))]);
    two.set_routes([(address(1), address(1)), (address(3), address(3))]);
    three.set_routes([(address(2), address(2)), (address(1), address(2))]);
    for (plane, peer, indices, secrets, initiator) in
        [(one, 3, (100, 300), (1, 3), true), (three, 1, (300, 100), (3, 1), false)]
    {
        let (local_index, remote_index) = indices;
        let names = Names { peer: address(peer), local_index, remote_index, initiator };
        let keys = keys(suite, secrets.0, secrets.1);
        let session = Arc::new(EndSession::new(suite, &keys, names, NOW).unwrap());
        plane.set_sessions(address(peer), Some(Arc::clone(&session)), [session], []);
    }
    planes
}

/// A datagram from the first to the third machine.
fn sealed(planes: &[Plane; 3], payload: &[u8]) -> Vec<u8> {
    let sender = planes[0].sender(NOW, address(3)).unwrap();
    let mut datagram = vec![0; Sender::HEADROOM];
    datagram.extend_from_slice(payload);
    datagram.resize(datagram.len() + Sender::TAILROOM, 0);
    sender.seal(InnerProtocol::Stream, &mut datagram).unwrap();
    assert_eq!(sender.endpoint(), endpoint(2));
    datagram
}

fn delivered(source: u16, payload: &mut [u8]) -> Verdict<'_> {
    Verdict::Deliver { source: address(source), protocol: InnerProtocol::Stream, payload }
}

#[test]
fn a_payload_crosses_a_relay_unchanged_and_unread() {
    for suite in SUITES {
        let planes = row(suite);
        for length in [0, 1, 15, 16, 1_000, 1_357] {
            let mut payload: Vec<u8> =
                (0..length).map(|index: u16| index.to_be_bytes()[1]).collect();
            let mut datagram = sealed(&planes, &payload);
            assert!(length < 16 || !datagram.windows(16).any(|part| part == &payload[..16]));
            let verdict = planes[1].receive(NOW, endpoint(1), &mut datagram);
            assert_eq!(verdict, Verdict::Forward { destination: endpoint(3) });
            assert!(length < 16 || !datagram.windows(16).any(|part| part == &payload[..16]));
            let verdict = planes[2].receive(NOW, endpoint(2), &mut datagram);
            assert_eq!(verdict, delivered(1, &mut payload));
        }
        let expected = [
            PlaneEvent::SessionUsed { peer: address(1), index: 300 },
            PlaneEvent::LinkUsed { peer: address(2), index: 3 << 16 | 2, source: endpoint(2) },
        ];
        assert_eq!(planes[2].take_events(), expected);
        assert!(!planes[2].has_events() && planes[2].take_events().is_empty());
    }
}

#[test]
fn without_session_or_route_nothing_is_sealed_and_the_mesh_is_asked() {
    let planes = row(Suite::Aes256Gcm);
    assert!(planes[0].sender(NOW, address(2)).is_none());
    assert_eq!(planes[0].take_events(), [PlaneEvent::SessionWanted(address(2))]);
    planes[0].set_routes([]);
    assert!(planes[0].sender(NOW, address(3)).is_none());
    assert!(planes[0].take_events().is_empty());
}

#[test]
fn an_old_session_is_replaced_then_refused() {
    let planes = row(Suite::Aes256Gcm);
    let wanted = |plane: &Plane, peer: u16, seconds: u64| {
        let usable = plane.sender(NOW + Duration::from_secs(seconds), address(peer)).is_some();
        let is_wanted = |event: &PlaneEvent| matches!(event, PlaneEvent::SessionWanted(_));
        (usable, plane.take_events().iter().filter(|event| is_wanted(event)).count())
    };
    assert_eq!(wanted(&planes[0], 3, 119), (true, 0));
    assert_eq!(wanted(&planes[0], 3, 120), (true, 1));
    assert_eq!(wanted(&planes[2], 1, 129), (true, 0));
    assert_eq!(wanted(&planes[2], 1, 130), (true, 1));
    assert_eq!(wanted(&planes[0], 3, 179), (true, 1));
    assert_eq!(wanted(&planes[0], 3, 180), (false, 1));
}

#[test]
fn a_link_that_carries_says_so_once_until_it_is_proved() {
    let planes = row(Suite::Aes256Gcm);
    let loaded = |plane: &Plane, peer: u16| {
        let event = PlaneEvent::LinkLoaded(address(peer));
        plane.take_events().into_iter().filter(|one| *one == event).count()
    };
    for _ in 0..3 {
        let mut datagram = sealed(&planes, b"payload");
        planes[1].receive(NOW, endpoint(1), &mut datagram);
    }
    assert_eq!((loaded(&planes[0], 2), loaded(&planes[1], 3)), (1, 1));
    let traffic = planes[0].read().outbound(address(2)).unwrap().traffic.clone();
    traffic.proved();
    sealed(&planes, b"payload");
    assert_eq!(loaded(&planes[0], 2), 1);
    let counts = planes[1].read().outbound(address(1)).unwrap().traffic.counts();
    assert_eq!((counts.packets_expected, counts.packets_received), (3, 3));
}

#[test]
fn packets_end_with_their_ttl_and_never_go_back() {
    let planes = row(Suite::ChaCha20Poly1305);
    planes[1].set_routes([(address(3), address(1))]);
    let mut datagram = sealed(&planes, b"payload");
    assert_eq!(planes[1].receive(NOW, endpoint(1), &mut datagram), Verdict::Drop);
    // The relay and the third machine hold each other for the way to a fourth.
    planes[1].set_routes([(address(3), address(3))]);
    let mut hops = 0;
    let mut datagram = sealed(&planes, b"payload");
    super::header::write_ttl(&mut datagram, 1);
    let sender = planes[0].sender(NOW, address(3)).unwrap();
    sender.seal(InnerProtocol::Stream, &mut datagram).unwrap();
    while let Verdict::Forward { .. } = planes[1].receive(NOW, endpoint(1), &mut datagram) {
        hops += 1;
    }
    assert_eq!(hops, 1);
}
