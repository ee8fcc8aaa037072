//! Reading what was written, and anything else.

use super::*;

#[test]
fn frames_round_trip() {
    let probe = Probe { token: 9, wanted: true, observed: "192.0.2.1:4863".parse().unwrap() };
    let (one, two) = (Ipv6Addr::from(1), Ipv6Addr::from(2));
    let routed = Routed { ttl: 3, destination: one, source: two, protocol: 2, payload: b"payload" };
    for frame in [
        Frame::Ping(probe),
        Frame::Pong(Probe { wanted: false, ..probe }),
        Frame::Routed(routed),
        Frame::States(vec![b"one", b"three"]),
        Frame::Held(vec![(one, 1), (two, u64::MAX)]),
        Frame::Close,
        Frame::KnockChunk { total: 7, offset: 3, bytes: b"tail" },
        Frame::KnockHeld(5),
    ] {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        assert_eq!(Frame::read(&bytes), Some(frame));
    }
}

#[test]
fn any_bytes_can_be_read() {
    bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
        let _ = Packet::read(bytes);
        if let Some(frame) = Frame::read(bytes) {
            let mut again = Vec::new();
            frame.write(&mut again);
            assert_eq!(Frame::read(&again), Some(frame));
        }
    });
}
