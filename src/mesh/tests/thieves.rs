//! Members and outsiders that try to enter others' sessions, or to wear a machine out.

use std::net::Ipv6Addr;
use std::net::SocketAddr;

use super::*;
use crate::mesh::fixture::cluster;
use crate::mesh::handshake::Handshaker;
use crate::mesh::handshake::Purpose;
use crate::mesh::handshake::SESSION_PROLOGUE;
use crate::mesh::plane::suite::Suites;
use crate::mesh::session_message::SessionMessage;

/// Initiations for a session with machine 0 by the holder of a key.
fn initiations(count: u64, by: usize) -> Vec<Vec<u8>> {
    let side = Handshaker::new(&key(by), cluster(0), SESSION_PROLOGUE, Suites::ALL).unwrap();
    let remote = key(0).node_id().to_x25519();
    let initiation = |number: u64| {
        let (_, noise) = side
            .initiate(&remote, Purpose::Session, 10_000_000 + number, 5, [by.to_be_bytes()[7]; 32])
            .unwrap();
        SessionMessage::Initiation { sender: 7, noise: &noise }.to_bytes()
    };
    (0..count).map(initiation).collect()
}

/// Hands messages to machine 0 as if machine 1 had routed them from `source`. Returns how many
/// were answered.
fn hand_over(sim: &mut Sim, source: Ipv6Addr, messages: &[Vec<u8>]) -> usize {
    let (now, neighbour) = (sim.now, sim.machines[1].id.address());
    sim.with(0, |mesh| {
        let before = mesh.outputs.len();
        for message in messages {
            mesh.receive_session_message(now, neighbour, source, message);
        }
        mesh.outputs.len() - before
    })
}

fn linked(count: usize, seed: u8) -> Sim {
    let mut sim = Sim::running(count, seed);
    let all: Vec<_> = (0..count).collect();
    sim.run_until(seconds(3), |sim| sim.is_connected(&all));
    sim.run(seconds(1));
    sim
}

#[test]
fn an_initiation_counts_once_and_only_from_its_own_address() {
    let mut sim = linked(3, 80);
    let [two, one] = [2, 1].map(|index: usize| sim.machines[index].id.address());
    let messages = initiations(2, 2);
    assert_eq!(hand_over(&mut sim, one, &messages[1..]), 0, "another's address");
    assert_eq!(hand_over(&mut sim, two, &messages[1..]), 1);
    let session = |sim: &Sim| {
        let end = &sim.mesh(0).ends.by_address[&two];
        end.next.as_ref().map(|(session, _)| session.local_index)
    };
    let answered = session(&sim);
    // A copy and an older one change nothing; without a session the machine begins one itself.
    hand_over(&mut sim, two, &messages[1..]);
    hand_over(&mut sim, two, &messages[..1]);
    assert_eq!(session(&sim), answered);
    let mut bent = initiations(1, 2);
    bent[0][60] ^= 1;
    hand_over(&mut sim, two, &bent);
    assert_eq!(session(&sim), answered);
}

#[test]
fn an_evicted_key_gets_no_session_through_others() {
    let mut sim = linked(3, 81);
    let evicted = sim.machines[2].id.address();
    let without: Vec<_> = sim.peers(|_| true).into_iter().take(2).collect();
    sim.set_peers(0, without);
    assert_eq!(hand_over(&mut sim, evicted, &initiations(5, 2)), 0);
    assert!(!sim.mesh(0).ends.by_address.contains_key(&evicted));
    // Nor does it under the address of one that stayed.
    let stayed = sim.machines[1].id.address();
    assert_eq!(hand_over(&mut sim, stayed, &initiations(5, 2)), 0);
    // The relay still knows it: what it has a session for is refused all the same.
    send_from(&mut sim, 2);
    sim.run(seconds(2));
    assert_eq!(sim.count(0, |output| matches!(output, Output::Deliver { .. })), 0);
}

fn send_from(sim: &mut Sim, from: usize) {
    let (now, to) = (sim.now, sim.machines[0].id);
    let _ = sim.with(from, |mesh| mesh.send(now, to, Protocol::Gossip, b"let me in"));
}

#[test]
fn a_session_of_an_evicted_member_ends_at_once() {
    let mut sim = Sim::running(3, 82);
    sim.cut(0, 2);
    sim.run_until(seconds(3), |sim| sim.is_connected(&[0, 1, 2]));
    send_from(&mut sim, 2);
    sim.run(seconds(1));
    let delivered = |sim: &Sim| sim.count(0, |output| matches!(output, Output::Deliver { .. }));
    assert_eq!(delivered(&sim), 1);
    let without: Vec<_> = sim.peers(|_| true).into_iter().take(2).collect();
    sim.set_peers(0, without);
    send_from(&mut sim, 2);
    sim.run(seconds(5));
    assert_eq!(delivered(&sim), 1);
    assert!(sim.mesh(0).ends.indices.is_empty());
}

#[test]
fn a_member_that_floods_is_answered_within_bounds_and_others_are_heard() {
    let mut sim = linked(4, 83);
    let [one, two, three] = [1, 2, 3].map(|index: usize| sim.machines[index].id.address());
    let flood = initiations(300, 2);
    assert_eq!(hand_over(&mut sim, two, &flood), 8);
    assert_eq!(hand_over(&mut sim, three, &initiations(1, 3)), 1);
    // Whatever sources it claims, a neighbour is bounded too: claims cost curve work as well.
    let read = (0..400u16)
        .filter(|number| {
            let claimed = Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, *number);
            let now = sim.now;
            sim.with(0, |mesh| mesh.ends.budget.take(now, one, claimed))
        })
        .count();
    assert!(read < 256, "{read}");
}

#[test]
fn relays_see_no_byte_of_a_payload() {
    let mut sim = Sim::running(3, 84);
    sim.cut(0, 2);
    sim.run_until(seconds(3), |sim| sim.is_connected(&[0, 1, 2]));
    sim.capture = Some(Vec::new());
    let (now, to) = (sim.now, sim.machines[2].id);
    let payload = [0x5a; 600];
    sim.with(0, |mesh| mesh.send(now, to, Protocol::Stream, &payload)).unwrap();
    sim.run(seconds(1));
    let captured = sim.capture.take().unwrap();
    let long = captured.iter().filter(|sent| sent.datagram.len() > 600).count();
    assert_eq!(long, 2, "one datagram a hop");
    assert!(
        captured.iter().all(|sent| !sent.datagram.windows(8).any(|part| part == &payload[..8]))
    );
}

/// Whatever is on the wire comes again, late and from elsewhere: nothing is delivered twice.
#[test]
fn copies_of_carried_datagrams_deliver_nothing() {
    let mut sim = Sim::new(3, 85);
    sim.cut(0, 2);
    (0..3).for_each(|index| sim.start(index));
    sim.run_until(seconds(3), |sim| sim.is_connected(&[0, 1, 2]));
    sim.capture = Some(Vec::new());
    for _ in 0..20 {
        send_from(&mut sim, 2);
        sim.run(Duration::from_millis(50));
    }
    let captured = sim.capture.take().unwrap();
    let delivered = |sim: &Sim| sim.count(0, |output| matches!(output, Output::Deliver { .. }));
    assert_eq!(delivered(&sim), 20);
    let endpoints: Vec<SocketAddr> = sim.machines.iter().map(|machine| machine.endpoint).collect();
    for sent in captured.iter().filter(|sent| sent.datagram[1] == 4) {
        sim.post(sent.clone());
        sim.post(Sent { source: "203.0.113.5:5".parse().unwrap(), ..sent.clone() });
        // And back to where it came from.
        sim.post(Sent { source: sent.destination, destination: sent.source, ..sent.clone() });
    }
    sim.run(seconds(1));
    assert_eq!(delivered(&sim), 20);
    assert_eq!(sim.mesh(0).link_endpoint(sim.machines[1].id), Some(endpoints[1]));
    assert_eq!(sim.mesh(1).link_endpoint(sim.machines[2].id), Some(endpoints[2]));
}

/// A member may say anything in another's name.
#[test]
fn any_session_message_can_be_handled() {
    let mut sim = linked(3, 87);
    let two = sim.machines[2].id.address();
    let valid = initiations(1, 2);
    let now = sim.now;
    let neighbour = sim.machines[1].id.address();
    let mesh = std::sync::Mutex::new(sim.machines[0].mesh.take().unwrap());
    bolero::check!().with_iterations(2000).with_type::<(Vec<u8>, usize, u8)>().for_each(
        |(bytes, place, bits)| {
            let mut mesh = mesh.lock().unwrap();
            mesh.receive_session_message(now, neighbour, two, bytes);
            let mut bent = valid[0].clone();
            let place = 5 + place % (bent.len() - 5);
            bent[place] ^= bits | 1;
            mesh.receive_session_message(now, neighbour, two, &bent);
            assert!(mesh.poll_output().is_none());
        },
    );
}
