//! Sessions between two ends: made, replaced, lost, forgotten.

use super::*;
use crate::mesh::ends::End;
use crate::mesh::plane::suite::Suite;
use crate::mesh::plane::suite::Suites;

/// Three in a row, linked and settled.
fn chain(seed: u8) -> Sim {
    let mut sim = Sim::running(3, seed);
    sim.cut(0, 2);
    sim.run_until(seconds(3), |sim| sim.is_connected(&[0, 1, 2]));
    sim.run(seconds(1));
    sim
}

fn end(sim: &Sim, of: usize, with: usize) -> &End {
    &sim.mesh(of).ends.by_address[&sim.machines[with].id.address()]
}

/// The indices, here and there, of the session that seals.
fn sealing(sim: &Sim, of: usize, with: usize) -> Option<(u32, u32)> {
    let current = end(sim, of, with).current.as_ref()?;
    Some((current.local_index, current.remote_index))
}

fn send(sim: &mut Sim, from: usize, to: usize, payload: &[u8]) -> Result<(), SendError> {
    let (now, id) = (sim.now, sim.machines[to].id);
    sim.with(from, |mesh| mesh.send(now, id, Protocol::Stream, payload))
}

fn received(sim: &Sim, by: usize) -> usize {
    sim.count(by, |output| matches!(output, Output::Deliver { .. }))
}

#[test]
fn the_first_packet_to_an_unknown_member_takes_one_round_trip_more() {
    let mut sim = chain(60);
    let start = sim.now;
    send(&mut sim, 0, 2, b"first").unwrap();
    sim.run_until(seconds(1), |sim| received(sim, 2) == 1);
    let first = sim.now - start;
    let start = sim.now;
    send(&mut sim, 0, 2, b"second").unwrap();
    sim.run_until(seconds(1), |sim| received(sim, 2) == 2);
    let second = sim.now - start;
    assert!(first <= second * 3 + Duration::from_millis(1), "{first:?} and {second:?}");
}

#[test]
fn a_handshake_whose_way_is_lost_ends_and_begins_when_there_is_one() {
    let mut sim = chain(59);
    sim.machines[2].mesh = None;
    for round in 0..40 {
        // Both the other end and, in the midst of attempts, the way to it are gone.
        let _no_way = send(&mut sim, 0, 2, b"anybody there?");
        if round == 1 {
            sim.cut(0, 1);
        }
        sim.run(Duration::from_millis(250));
    }
    assert!(sim.route(0, 2).is_none() && end(&sim, 0, 2).attempt.is_none());
    sim.start(2);
    sim.mend(0, 1);
    sim.run_until(seconds(40), |sim| sim.is_connected(&[0, 1, 2]));
    assert!(delivers(&mut sim, 0, 2));
}

#[test]
fn two_that_begin_at_once_speak_under_one_session() {
    for seed in 61..64 {
        let mut sim = chain(seed);
        for round in 0..5 {
            for (from, to) in [(0, 2), (2, 0)] {
                send(&mut sim, from, to, &[round]).unwrap();
            }
        }
        sim.run(Duration::from_millis(100));
        assert_eq!((received(&sim, 0), received(&sim, 2)), (5, 5));
        for (from, to) in [(0, 2), (2, 0)] {
            send(&mut sim, from, to, b"again").unwrap();
        }
        sim.run(Duration::from_millis(100));
        let (here, there) = (sealing(&sim, 0, 2).unwrap(), sealing(&sim, 2, 0).unwrap());
        assert_eq!(here, (there.1, there.0));
        assert_eq!((received(&sim, 0), received(&sim, 2)), (6, 6));
    }
}

/// Both directions through a relay, lost and reordered: whatever the network let through arrives
/// once, for a day of changing keys.
#[test]
fn a_day_of_new_keys_loses_nothing_that_the_network_did_not() {
    const LENGTH: usize = 40;
    let mut sim = chain(64);
    sim.delay = Duration::from_millis(20);
    sim.noise = Duration::from_millis(40);
    for (from, to) in [(0, 2), (2, 0)] {
        send(&mut sim, from, to, &[0; LENGTH]).unwrap();
        sim.run(seconds(1));
    }
    sim.loss_percent = 3;
    let (mut sent, mut arrived, mut sessions) = (0u64, 0, std::collections::BTreeSet::new());
    sim.lost_carried.clear();
    sim.machines.iter_mut().for_each(|machine| machine.outputs.clear());
    for second in 0..24 * 3_600 {
        for (from, to) in [(0, 2), (2, 0)] {
            send(&mut sim, from, to, &[7; LENGTH]).unwrap();
            sent += 1;
        }
        sim.run(seconds(1));
        if second % 60 == 0 {
            arrived += received(&sim, 0) + received(&sim, 2);
            sim.machines.iter_mut().for_each(|machine| machine.outputs.clear());
            sessions.insert(sealing(&sim, 0, 2));
        }
    }
    sim.loss_percent = 0;
    sim.run(seconds(1));
    arrived += received(&sim, 0) + received(&sim, 2);
    let carried = crate::mesh::plane::header::OVERHEAD + LENGTH;
    let lost = sim.lost_carried.iter().filter(|length| **length == carried).count();
    assert_eq!(arrived as u64 + lost as u64, sent);
    assert!(sessions.len() >= 600, "{} sessions", sessions.len());
    assert!(sim.mesh(0).ends.indices.len() <= 4, "indices of old sessions are freed");
}

#[test]
fn handshakes_cross_a_network_that_loses_a_third() {
    let mut sim = chain(65);
    sim.loss_percent = 33;
    for round in 0..400 {
        let _ = send(&mut sim, 0, 2, &[1]);
        sim.run(Duration::from_millis(50));
        if received(&sim, 2) > 0 {
            assert!(round > 0);
            return;
        }
    }
    panic!("nothing arrived in 20 s");
}

/// How long after its start a restarted machine hears what others have sent to it all the time.
fn deaf_after_restart(sim: &mut Sim, from: usize, restarted: usize) -> Duration {
    for _ in 0..100 {
        send(sim, from, restarted, b"before").unwrap();
        sim.run(Duration::from_millis(5));
    }
    sim.machines[restarted].outputs.clear();
    sim.start(restarted);
    let start = sim.now;
    for _ in 0..1_000 {
        let _ = send(sim, from, restarted, b"after");
        sim.run(Duration::from_millis(1));
        if received(sim, restarted) > 0 {
            return sim.now - start;
        }
    }
    panic!("nothing arrived in a second");
}

#[test]
fn a_restarted_end_hears_again_after_a_few_round_trips() {
    // Of 2 ms with a neighbour, of 4 ms through the relay.
    let mut sim = chain(66);
    let neighbour = deaf_after_restart(&mut sim, 1, 0);
    assert!(neighbour <= Duration::from_millis(10), "{neighbour:?}");
    let mut sim = chain(67);
    let through_relay = deaf_after_restart(&mut sim, 0, 2);
    assert!(through_relay <= Duration::from_millis(16), "{through_relay:?}");
}

#[test]
fn lost_keys_are_noticed_with_the_next_packet() {
    let mut sim = chain(68);
    send(&mut sim, 0, 2, b"one").unwrap();
    sim.run(seconds(5));
    let address = sim.machines[0].id.address();
    // As if the machine had forgotten this session alone.
    sim.with(2, |mesh| mesh.end_evicted(address));
    send(&mut sim, 0, 2, b"lost").unwrap();
    sim.run(Duration::from_millis(12));
    send(&mut sim, 0, 2, b"two").unwrap();
    sim.run(Duration::from_millis(12));
    assert_eq!(received(&sim, 2), 2);
}

#[test]
fn a_session_nobody_uses_is_forgotten() {
    let mut sim = chain(69);
    send(&mut sim, 0, 2, b"one").unwrap();
    sim.run(seconds(100));
    assert!(sealing(&sim, 0, 2).is_some());
    sim.run(seconds(110));
    for (of, with) in [(0, 2), (2, 0)] {
        assert_eq!(sealing(&sim, of, with), None);
        assert!(sim.mesh(of).ends.indices.is_empty());
        let now = sim.now;
        assert!(sim.mesh(of).plane.sender(now, sim.machines[with].id.address()).is_none());
    }
    send(&mut sim, 2, 0, b"two").unwrap();
    sim.run(Duration::from_millis(20));
    assert_eq!(received(&sim, 0), 1);
}

#[test]
fn a_machine_whose_clock_was_set_back_is_spoken_to_again() {
    let mut sim = chain(70);
    send(&mut sim, 2, 0, b"one").unwrap();
    sim.run(seconds(1));
    sim.start_at(2, Timestamp::from_millis(5));
    sim.run_until(seconds(10), |sim| sim.is_connected(&[0, 1, 2]));
    sim.run(seconds(200));
    sim.machines[0].outputs.clear();
    send(&mut sim, 2, 0, b"two").unwrap();
    sim.run(seconds(1));
    assert_eq!(received(&sim, 0), 1);
}

#[test]
fn both_ends_use_the_suite_that_both_have() {
    for (suites, expected) in [
        ([Suites::ALL, Suites::ALL], Suite::Aes256Gcm),
        ([Suites::ALL, Suites::PORTABLE], Suite::ChaCha20Poly1305),
        ([Suites::PORTABLE, Suites::ALL], Suite::ChaCha20Poly1305),
    ] {
        let mut sim = Sim::new(3, 71);
        sim.cut(0, 2);
        for index in 0..3 {
            sim.settings.suites = if index == 0 { suites[0] } else { suites[1] };
            sim.start(index);
        }
        sim.run_until(seconds(3), |sim| sim.is_connected(&[0, 1, 2]));
        assert!(delivers(&mut sim, 0, 2) && delivers(&mut sim, 2, 0));
        assert_eq!(end(&sim, 0, 2).current.as_ref().unwrap().suite, expected);
        assert_eq!(end(&sim, 2, 0).current.as_ref().unwrap().suite, expected);
    }
}
