//! Echoes over simulated networks.

use std::time::Duration;

use super::*;
use crate::mesh::fixture::cluster;
use crate::mesh::fixture::key;
use crate::mesh::sim::Sim;
use crate::mesh::sim::seconds;

/// A chain of `count`.
fn chain(count: usize, seed: u8) -> Sim {
    let mut sim = Sim::running(count, seed);
    for one in 0..count {
        (one + 2..count).for_each(|other| sim.cut(one, other));
    }
    let all: Vec<usize> = (0..count).collect();
    sim.run_until(seconds(15), |sim| sim.is_connected(&all));
    sim
}

fn ask(sim: &mut Sim, from: usize, to: usize, ttl: u8) -> Result<EchoToken, SendError> {
    let (now, id) = (sim.now, key(to).node_id());
    sim.with(from, |mesh| mesh.echo(now, id, ttl))
}

/// Who answered a question of `from`, at which end, how far away, and after what time.
fn answer(sim: &Sim, from: usize, asked: EchoToken) -> Option<(usize, bool, u8, Duration)> {
    sim.machines[from].outputs.iter().find_map(|output| match output {
        Output::Echoed { token, by, is_end, hops, rtt } if *token == asked => {
            let who = sim.machines.iter().position(|machine| machine.id == *by)?;
            Some((who, *is_end, *hops, *rtt))
        }
        _ => None,
    })
}

#[test]
fn every_hop_of_a_chain_answers_in_its_turn() {
    let mut sim = chain(5, 40);
    for (ttl, who) in [(1, 1), (2, 2), (3, 3), (4, 4), (ECHO_TTL_MAX, 4)] {
        let token = ask(&mut sim, 0, 4, ttl).unwrap();
        sim.run(seconds(1));
        let (by, is_end, hops, rtt) = answer(&sim, 0, token).unwrap();
        assert_eq!((by, is_end, usize::from(hops)), (who, who == 4, who), "ttl {ttl}");
        // A hop takes 1.0 to 1.1 ms each way.
        let hops = u32::try_from(2 * who).unwrap();
        let way = Duration::from_micros(1_000) * hops..Duration::from_micros(1_101) * hops;
        assert!(way.contains(&rtt), "ttl {ttl}: {rtt:?}");
    }
}

#[test]
fn what_cannot_be_asked_says_why() {
    let mut sim = Sim::running(3, 41);
    sim.cut(0, 1);
    sim.cut(1, 2);
    sim.run(seconds(5));
    let id = |index: usize| key(index).node_id();
    assert_eq!(ask(&mut sim, 0, 0, 9), Err(SendError::ToItself));
    assert_eq!(ask(&mut sim, 0, 1, 9), Err(SendError::NoRoute(id(1))));
    assert_eq!(ask(&mut sim, 0, 7, 9), Err(SendError::Unknown(id(7))));
    // Nobody answers these: the path ends in between.
    sim.cut(0, 2);
    for _ in 0..1_024 {
        ask(&mut sim, 0, 2, 9).unwrap();
    }
    assert_eq!(ask(&mut sim, 0, 2, 9), Err(SendError::QueueFull(id(2))));
}

#[test]
fn a_member_is_asked_in_vain_when_it_answers_enough() {
    let mut sim = Sim::running(2, 42);
    sim.run(seconds(2));
    let asked: Vec<_> = (0..300).map(|_| ask(&mut sim, 0, 1, 9).unwrap()).collect();
    sim.run(Duration::from_millis(500));
    // All came within a tenth of a millisecond, in which less than one more may be answered.
    let answers = asked.iter().filter(|token| answer(&sim, 0, **token).is_some()).count();
    assert_eq!(answers, 200);
    sim.run(seconds(1));
    let token = ask(&mut sim, 0, 1, 9).unwrap();
    sim.run(seconds(1));
    assert!(answer(&sim, 0, token).is_some());
}

/// Gives an echo's payload to a machine as if it had come from `source`, through a neighbour.
fn inject(sim: &mut Sim, from: usize, to: usize, payload: &[u8]) {
    let now = sim.now;
    let [source, destination] = [from, to].map(|index| key(index).node_id().address());
    let routed = Routed { ttl: 5, destination, source, protocol: PROTOCOL_ECHO, payload };
    sim.with(to, |mesh| mesh.receive_echo(now, &routed));
}

/// A question of `from` to `to`, and the same as it is on the wire.
fn question(sim: &mut Sim, from: usize, to: usize) -> (EchoToken, Vec<u8>) {
    let token = ask(sim, from, to, 9).unwrap();
    let address = |index: usize| key(index).node_id().address();
    let ends = Ends { asker: address(from), asked: address(to), answerer: address(to) };
    let key = shared_key(&key(from), &key(to).node_id(), cluster(0));
    (token, Message::sealed(&key, KIND_QUESTION, 9, token, ends).write())
}

#[test]
fn a_forged_answer_is_none() {
    let mut sim = chain(3, 43);
    let (token, asked) = question(&mut sim, 0, 2);
    let address = |index: usize| key(index).node_id().address();
    // Member 1 is on the way and knows the token: it cannot speak for 2, nor pass for the end.
    let own = shared_key(&key(1), &key(0).node_id(), cluster(0));
    for ttl in 0..=9 {
        for kind in [KIND_ANSWER, KIND_EXPIRED] {
            let ends = Ends { asker: address(0), asked: address(2), answerer: address(2) };
            let forged = Message::sealed(&own, kind, ttl, token, ends).write();
            inject(&mut sim, 2, 0, &forged);
            let repeated = [&[kind, ttl], &asked[2..]].concat();
            inject(&mut sim, 2, 0, &repeated);
        }
        let ends = Ends { asker: address(0), asked: address(2), answerer: address(1) };
        let forged = Message::sealed(&own, KIND_ANSWER, ttl, token, ends).write();
        inject(&mut sim, 1, 0, &forged);
    }
    assert_eq!(answer(&sim, 0, token), None);
    // It may say that the way ended with it, which is its own word and true of what it did.
    let ends = Ends { asker: address(0), asked: address(2), answerer: address(1) };
    let said = Message::sealed(&own, KIND_EXPIRED, 9, token, ends).write();
    inject(&mut sim, 1, 0, &said);
    assert_eq!(answer(&sim, 0, token).map(|answer| (answer.0, answer.1)), Some((1, false)));
}

#[test]
fn a_bent_question_is_not_answered() {
    let mut sim = chain(3, 44);
    let (_, asked) = question(&mut sim, 0, 2);
    sim.run(seconds(2));
    let before = sim.sent_count;
    for index in 0..asked.len() {
        let mut bent = asked.clone();
        bent[index] ^= 1;
        inject(&mut sim, 0, 2, &bent);
        inject(&mut sim, 0, 2, &asked[..index]);
    }
    // Nor is a stranger's, or one in another's name.
    inject(&mut sim, 7, 2, &asked);
    inject(&mut sim, 1, 2, &asked);
    assert_eq!(sim.sent_count, before);
    inject(&mut sim, 0, 2, &asked);
    assert_eq!(sim.sent_count, before + 1);
}

#[test]
fn any_bytes_can_come_as_an_echo() {
    let sim = std::sync::Mutex::new(chain(3, 45));
    bolero::check!().with_iterations(2000).with_type::<(u8, Vec<u8>)>().for_each(
        |(kind, bytes)| {
            let mut sim = sim.lock().unwrap();
            inject(&mut sim, 1, 0, bytes);
            inject(&mut sim, 1, 0, &[&[kind % 4], bytes.as_slice()].concat());
        },
    );
}
