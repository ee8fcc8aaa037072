//! Whatever bytes come, nothing panics and what is read can be written again.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use crate::gossip::core::Gossip;
use crate::gossip::exchange::Request;
use crate::gossip::exchange::Response;
use crate::gossip::exchange::decode;
use crate::gossip::packet::Packet;
use crate::gossip::settings::GossipSettings;
use crate::gossip::sim::EPOCH_MILLIS;
use crate::gossip::sim::key;
use crate::model::identity::NodeId;
use crate::model::time::Moment;
use crate::model::time::Timestamp;

static NODES: LazyLock<Vec<NodeId>> = LazyLock::new(|| (0..3).map(|i| key(i).node_id()).collect());

/// An agent in a cluster of three, of which the second has been met.
fn agent() -> Gossip {
    let me = NODES[0];
    let started_at = Timestamp::from_millis(EPOCH_MILLIS);
    let mut gossip = Gossip::new(me, started_at, GossipSettings::default(), 1);
    gossip.set_members(Moment::START, &NODES.iter().copied().collect::<BTreeSet<_>>());
    let mut other = Gossip::new(NODES[1], started_at, GossipSettings::default(), 2);
    other.set_members(Moment::START, &NODES.iter().copied().collect::<BTreeSet<_>>());
    let digest = other.handle_exchange_request(Moment::START, me, &gossip.exchange_request());
    gossip.handle_exchange_response(Moment::START, NODES[1], &digest.unwrap()).unwrap();
    gossip
}

/// Puts the addresses of members where the input asks for them, so that random bytes get past the
/// roster.
fn with_addresses(input: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for byte in input {
        match byte {
            0xf0..=0xf2 => {
                bytes.extend(NODES[usize::from(byte - 0xf0)].address().octets());
            }
            0xf3 => bytes.extend(postcard::to_allocvec(&EPOCH_MILLIS).unwrap()),
            _ => bytes.push(*byte),
        }
    }
    bytes
}

#[test]
fn any_bytes_can_be_read_as_a_packet() {
    bolero::check!().with_iterations(5_000).for_each(|input: &[u8]| {
        if let Some(Packet::Swim(packet)) = Packet::decode(input) {
            let again = Packet::frame_swim(&packet.encode().unwrap());
            assert_eq!(Packet::decode(&again), Some(Packet::Swim(packet)));
        }
    });
}

#[test]
fn any_bytes_can_be_read_as_an_exchange() {
    let node = NODES[1];
    bolero::check!().with_iterations(5_000).for_each(|input: &[u8]| {
        let _request = decode::<Request>(node, input);
        let _response = decode::<Response>(node, input);
    });
}

#[test]
fn any_packets_and_exchanges_leave_an_agent_running() {
    bolero::check!().with_type::<Vec<(u8, u8, Vec<u8>)>>().with_iterations(2_000).for_each(
        |inputs| {
            let mut gossip = agent();
            let mut now = Moment::START;
            for (kind, sender, input) in inputs.iter().take(20) {
                now = now + Duration::from_millis(100);
                let source = NODES[usize::from(sender % 3)];
                let bytes = [&[1, kind % 6][..], &with_addresses(input)].concat();
                match kind % 6 {
                    0 => drop(gossip.handle_exchange_request(now, source, &bytes)),
                    5 => drop(gossip.handle_exchange_response(now, source, &bytes)),
                    _ => gossip.handle_packet(now, source, &bytes),
                }
                gossip.handle_timeout(now);
                while gossip.poll_output().is_some() {}
            }
            assert!(gossip.poll_timeout().is_some());
        },
    );
}
