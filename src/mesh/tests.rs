//! Whole meshes in a simulated network.

use std::time::Duration;

use super::core::SEND_LENGTH_MAX;
use super::fixture::key;
use super::output::Output;
use super::output::Protocol;
use super::output::SendError;
use super::sim::Sent;
use super::sim::Sim;
use super::sim::nat::Kind;
use super::sim::seconds;
use crate::model::time::Timestamp;

mod challenges;
mod crowd;
mod fuzz;
mod hostile;
mod knocks;
mod liars;
mod pinned;
mod routers;
mod sessions;
mod silence;
mod thieves;
mod topologies;

fn is_down(output: &Output) -> bool {
    matches!(output, Output::LinkDown(_))
}

/// Sends from one machine to another and says whether it arrives within a second.
fn delivers(sim: &mut Sim, from: usize, to: usize) -> bool {
    let (source, destination) = (sim.machines[from].id, sim.machines[to].id);
    let payload = vec![7; SEND_LENGTH_MAX];
    let before = sim.machines[to].outputs.len();
    let now = sim.now;
    let sent = sim.with(from, |mesh| mesh.send(now, destination, Protocol::Stream, &payload));
    sim.run(seconds(1));
    let expected = Output::Deliver { source, protocol: Protocol::Stream, payload: payload.into() };
    sent.is_ok() && sim.machines[to].outputs[before..].contains(&expected)
}

#[test]
fn two_that_dial_at_once_have_one_link_after_two_round_trips() {
    let mut sim = Sim::running(2, 1);
    sim.run(Duration::from_millis(5));
    assert!(sim.is_connected(&[0, 1]));
    sim.run(seconds(20));
    for index in 0..2 {
        assert_eq!(sim.count(index, |output| matches!(output, Output::LinkUp(_))), 1);
        assert_eq!(sim.count(index, is_down), 0);
    }
    assert!(delivers(&mut sim, 0, 1) && delivers(&mut sim, 1, 0));
}

#[test]
fn a_chain_delivers_through_its_middle() {
    let mut sim = Sim::running(3, 2);
    sim.cut(0, 2);
    sim.run_until(seconds(3), |sim| sim.is_connected(&[0, 1, 2]));
    assert_eq!(sim.route(0, 2), Some((1, 2)));
    assert!(delivers(&mut sim, 0, 2));
    assert!(delivers(&mut sim, 2, 0));
}

#[test]
fn a_long_chain_whose_rings_cross_the_cuts_delivers() {
    let mut sim = Sim::running(6, 3);
    for one in 0..6 {
        for other in one + 2..6 {
            sim.cut(one, other);
        }
    }
    sim.run_until(seconds(15), |sim| sim.is_connected(&[0, 1, 2, 3, 4, 5]));
    assert_eq!(sim.route(0, 5), Some((1, 5)));
    assert!(delivers(&mut sim, 0, 5));
    let links: Vec<_> = (0..6).map(|index| sim.link_count(index)).collect();
    sim.run(seconds(200));
    assert!(sim.is_connected(&[0, 1, 2, 3, 4, 5]), "needed links are kept");
    assert_eq!(links, (0..6).map(|index| sim.link_count(index)).collect::<Vec<_>>());
}

#[test]
fn fifty_find_each_other_and_keep_few_links() {
    let all: Vec<_> = (0..50).collect();
    let mut sim = Sim::running(50, 4);
    sim.run_until(seconds(3), |sim| sim.is_connected(&all));
    sim.run(seconds(120));
    assert!(all.iter().all(|index| sim.link_count(*index) <= 6));
    assert!(all.iter().all(|from| {
        all.iter().all(|to| from == to || sim.route(*from, *to).is_some_and(|(_, hops)| hops <= 6))
    }));
    let before = sim.sent_count;
    sim.run(seconds(60));
    // 150 links with a ping and a pong every 0.8 to 1 s; keys and link state are rare.
    let rate = (sim.sent_count - before) / 60;
    assert!(rate <= 150 * 2 * 5 / 4 + 30, "{rate} datagrams a second when idle");
    assert!(all.iter().all(|index| sim.count(*index, is_down) <= 12));
}

#[test]
fn a_partition_parts_and_heals() {
    let mut sim = Sim::running(8, 5);
    let (left, right) = ([0, 1, 2, 3], [4, 5, 6, 7]);
    let all = [left, right].concat();
    sim.run_until(seconds(3), |sim| sim.is_connected(&all));
    for one in left {
        for other in right {
            sim.cut(one, other);
        }
    }
    sim.run(seconds(6));
    assert!(sim.is_connected(&left) && sim.is_connected(&right));
    assert!(left.iter().all(|from| right.iter().all(|to| sim.route(*from, *to).is_none())));
    // Membership notices.
    for index in 0..8 {
        let peers = sim.peers(|other| (other < 4) == (index < 4));
        sim.set_peers(index, peers);
    }
    sim.run(seconds(600));
    sim.heal();
    sim.run_until(seconds(40), |sim| sim.is_connected(&all));
    assert!(delivers(&mut sim, 0, 7));
}

#[test]
fn a_pair_without_any_other_link_heals_within_seconds() {
    let mut sim = Sim::running(2, 6);
    sim.cut(0, 1);
    sim.run(seconds(600));
    sim.heal();
    sim.run_until(seconds(2), |sim| sim.is_connected(&[0, 1]));
}

#[test]
fn a_restarted_peer_is_spoken_to_at_once() {
    let mut sim = Sim::running(4, 7);
    let all = [0, 1, 2, 3];
    sim.run_until(seconds(3), |sim| sim.is_connected(&all));
    sim.run(seconds(10));
    sim.start(1);
    sim.run_until(Duration::from_millis(500), |sim| sim.is_connected(&all));
    // Until the restarted machine's first packet is here the others speak under the old keys.
    sim.run(Duration::from_millis(5));
    assert!(delivers(&mut sim, 0, 1) && delivers(&mut sim, 1, 3));
    assert_eq!(sim.count(0, is_down), 0);
}

#[test]
fn a_machine_whose_clock_was_set_back_returns() {
    let mut sim = Sim::running(3, 8);
    sim.cut(0, 2);
    sim.run_until(seconds(3), |sim| sim.is_connected(&[0, 1, 2]));
    sim.start_at(2, Timestamp::from_millis(5));
    sim.run_until(seconds(10), |sim| sim.is_connected(&[0, 1, 2]));
    assert!(delivers(&mut sim, 0, 2) && delivers(&mut sim, 2, 0));
}

#[test]
fn a_fifth_of_all_datagrams_lost_breaks_nothing() {
    let all: Vec<_> = (0..10).collect();
    let mut sim = Sim::new(10, 9);
    sim.loss_percent = 20;
    sim.delay = Duration::from_millis(20);
    for index in &all {
        sim.start(*index);
    }
    sim.run_until(seconds(10), |sim| sim.is_connected(&all));
    // Links made while the right ones did not answer are closed again.
    sim.run(seconds(90));
    for machine in &mut sim.machines {
        machine.outputs.clear();
    }
    sim.run(seconds(300));
    assert!(sim.is_connected(&all));
    let downs: usize = all.iter().map(|index| sim.count(*index, is_down)).sum();
    assert_eq!(downs, 0, "links were given up");
}

#[test]
fn a_moved_machine_keeps_its_link() {
    let mut sim = Sim::running(2, 10);
    sim.run(seconds(3));
    sim.machines[1].endpoint = "10.9.9.9:1000".parse().unwrap();
    sim.run(seconds(5));
    assert_eq!(sim.mesh(0).link_endpoint(sim.machines[1].id), Some(sim.machines[1].endpoint));
    assert_eq!(sim.count(0, is_down) + sim.count(1, is_down), 0);
    assert!(sim.machines[1].outputs.contains(&Output::ObservedAddress(sim.machines[1].endpoint)));
    assert!(delivers(&mut sim, 0, 1));
}

#[test]
fn keys_change_without_a_pause() {
    let mut sim = Sim::running(2, 11);
    for _ in 0..30 {
        sim.run(seconds(30));
        assert!(delivers(&mut sim, 0, 1) && delivers(&mut sim, 1, 0));
    }
    assert_eq!(sim.count(0, is_down) + sim.count(1, is_down), 0);
    let current = |index: usize| {
        let links = &sim.mesh(index).links;
        let age = |link: &super::link::Link| {
            sim.now.since(link.sessions.current.as_ref().unwrap().created_at)
        };
        links.values().map(age).max().unwrap()
    };
    assert!(current(0) < seconds(140) && current(1) < seconds(140));
    assert!(sim.mesh(0).indices.len() <= 3, "indices of old sessions are freed");
}

#[test]
fn a_dead_endpoint_costs_a_quarter_of_a_second() {
    let mut sim = Sim::new(2, 12);
    let mut peers = sim.peers(|_| true);
    for peer in &mut peers {
        peer.endpoints.insert(0, "192.0.2.1:9".parse().unwrap());
    }
    for index in 0..2 {
        sim.start(index);
        sim.set_peers(index, peers.clone());
    }
    sim.run_until(Duration::from_millis(600), |sim| sim.is_connected(&[0, 1]));
}

#[test]
fn packets_wait_for_a_link_that_is_being_made() {
    let mut sim = Sim::running(2, 13);
    let id = sim.machines[1].id;
    let now = sim.now;
    sim.with(0, |mesh| mesh.handle_timeout(now));
    for count in 0..9 {
        let sent = sim.with(0, |mesh| mesh.send(now, id, Protocol::Gossip, &[count]));
        assert_eq!(sent, if count < 8 { Ok(()) } else { Err(SendError::QueueFull(id)) });
    }
    sim.run(Duration::from_millis(20));
    assert_eq!(sim.count(1, |output| matches!(output, Output::Deliver { .. })), 8);
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let mut sim = Sim::running(2, 14);
    sim.cut(0, 1);
    let now = sim.now;
    let [own, peer, stranger] = [0, 1, 5].map(|index| key(index).node_id());
    let mut send = |to, length: usize| {
        sim.with(0, |mesh| mesh.send(now, to, Protocol::Gossip, &vec![0; length]))
    };
    assert_eq!(send(own, 1), Err(SendError::ToItself));
    assert_eq!(send(stranger, 1), Err(SendError::Unknown(stranger)));
    assert_eq!(send(peer, 1), Err(SendError::NoRoute(peer)));
    let limit = SEND_LENGTH_MAX;
    assert_eq!(send(peer, limit + 1), Err(SendError::TooLong { length: limit + 1, limit }));
}

#[test]
fn a_closed_link_is_gone_at_once() {
    let mut sim = Sim::running(2, 15);
    sim.run(seconds(2));
    let now = sim.now;
    sim.with(1, |mesh| mesh.shutdown(now));
    assert_eq!(sim.mesh(1).poll_timeout(), None);
    sim.machines[1].mesh = None;
    sim.run(Duration::from_millis(5));
    // The goodbye was on its way when the machine went; here it arrives.
    assert_eq!(sim.link_count(0), 0);
}

#[test]
fn a_silent_middle_is_left_for_another_path() {
    let mut sim = Sim::running(4, 16);
    sim.cut(0, 3);
    sim.run_until(seconds(5), |sim| sim.is_connected(&[0, 1, 2, 3]));
    let (middle, _) = sim.route(0, 3).unwrap();
    sim.cut(0, middle);
    sim.run_until(seconds(5), |sim| sim.route(0, 3).is_some_and(|route| route.0 == 3 - middle));
    assert!(delivers(&mut sim, 0, 3));
}
