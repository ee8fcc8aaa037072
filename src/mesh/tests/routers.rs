//! Machines behind routers that translate addresses, and machines that move.

use std::time::Duration;

use super::delivers;
use super::is_down;
use crate::mesh::core::SEND_LENGTH_MAX;
use crate::mesh::output::Output;
use crate::mesh::output::Peer;
use crate::mesh::output::Protocol;
use crate::mesh::sim::Sim;
use crate::mesh::sim::nat::Kind;
use crate::mesh::sim::seconds;
use crate::model::nat::NatKind;

/// Two machines on the internet and two behind a router of their own each.
fn between(one: Kind, other: Kind, seed: u8) -> Sim {
    let mut sim = Sim::new(4, seed);
    let first = sim.routers.add(one, "203.0.113.1", None);
    let second = sim.routers.add(other, "203.0.113.2", None);
    sim.routers.put(sim.machines[2].endpoint, first);
    sim.routers.put(sim.machines[3].endpoint, second);
    (0..4).for_each(|index| sim.start(index));
    sim
}

/// Tells everybody where everybody is, as membership does; then lets time pass. A second of each.
fn live(sim: &mut Sim, time: u64) {
    for _ in 0..time {
        let peers: Vec<Peer> = (0..sim.machines.len())
            .map(|index| {
                let machine = &sim.machines[index];
                let mut endpoints = vec![machine.endpoint];
                endpoints.extend(sim.mesh(index).nat().external);
                Peer { id: machine.id, endpoints, alive: true, reach: machine.reach }
            })
            .collect();
        for index in 0..sim.machines.len() {
            sim.set_peers(index, peers.clone());
        }
        sim.run(seconds(1));
    }
}

fn is_direct(sim: &Sim, from: usize, to: usize) -> bool {
    sim.route(from, to).is_some_and(|(hop, hops)| hop == to && hops == 1)
}

const KINDS: [Kind; 4] = [Kind::Full, Kind::Restricted, Kind::PortRestricted, Kind::Symmetric];

#[test]
fn all_pairs_of_kinds_get_through_where_they_can() {
    for (row, one) in KINDS.into_iter().enumerate() {
        for (column, other) in KINDS.into_iter().enumerate() {
            let seed = 50 + u8::try_from(row * 4 + column).unwrap();
            let mut sim = between(one, other, seed);
            // Nobody is told the outer addresses but by a call.
            sim.run(seconds(20));
            let kind =
                |kind| if kind == Kind::Symmetric { NatKind::Symmetric } else { NatKind::Easy };
            assert_eq!(sim.mesh(2).nat().kind, kind(one), "{one:?}");
            assert_eq!(sim.mesh(3).nat().kind, kind(other), "{other:?}");
            let shut = [Kind::PortRestricted, Kind::Symmetric];
            let relayed = (one == Kind::Symmetric && shut.contains(&other))
                || (other == Kind::Symmetric && shut.contains(&one));
            assert_eq!(is_direct(&sim, 2, 3), !relayed, "{one:?} and {other:?}");
            assert_eq!(is_direct(&sim, 3, 2), !relayed, "{one:?} and {other:?}");
            assert!(delivers(&mut sim, 2, 3) && delivers(&mut sim, 3, 2));
        }
    }
}

#[test]
fn machines_on_the_internet_know_that_nothing_is_between() {
    let mut sim = Sim::running(4, 70);
    sim.run(seconds(3));
    assert_eq!(sim.mesh(0).nat().kind, NatKind::None);
    assert_eq!(sim.mesh(0).nat().external, []);
}

#[test]
fn two_behind_one_router_meet_inside() {
    for kind in KINDS {
        let mut sim = Sim::new(4, 71);
        let router = sim.routers.add(kind, "203.0.113.1", None);
        for index in [2, 3] {
            sim.routers.put(sim.machines[index].endpoint, router);
        }
        (0..4).for_each(|index| sim.start(index));
        live(&mut sim, 10);
        assert!(is_direct(&sim, 2, 3) && is_direct(&sim, 3, 2), "{kind:?}");
        let inner = sim.machines[3].endpoint;
        assert_eq!(sim.mesh(2).link_endpoint(sim.machines[3].id), Some(inner));
    }
}

#[test]
fn behind_two_routers_each_the_way_opens() {
    let mut sim = Sim::new(4, 72);
    for (index, (outer, inner)) in
        [("203.0.113.1", "100.64.0.2"), ("203.0.113.2", "100.64.0.2")].into_iter().enumerate()
    {
        let carrier = sim.routers.add(Kind::PortRestricted, outer, None);
        let home = sim.routers.add(Kind::PortRestricted, inner, Some(carrier));
        sim.routers.put(sim.machines[index + 2].endpoint, home);
    }
    (0..4).for_each(|index| sim.start(index));
    live(&mut sim, 20);
    assert!(is_direct(&sim, 2, 3) && is_direct(&sim, 3, 2));
}

#[test]
fn who_cannot_get_through_does_not_try_for_ever_at_full_rate() {
    let mut sim = between(Kind::Symmetric, Kind::Symmetric, 73);
    live(&mut sim, 600);
    let before = sim.sent_count;
    sim.run(seconds(600));
    // Five links of two datagrams a second; an attempt of few datagrams every half minute.
    let rate = (sim.sent_count - before) / 600;
    assert!(rate <= 13, "{rate} datagrams a second");
    assert!(!is_direct(&sim, 2, 3) && delivers(&mut sim, 2, 3));
    assert!((2..4).all(|index| sim.count(index, is_down) == 0));
}

/// Sends a numbered packet every five milliseconds while `time` passes; how many were lost.
fn lost_while(sim: &mut Sim, from: usize, to: usize, time: Duration) -> usize {
    let destination = sim.machines[to].id;
    let before = sim.count(to, |output| matches!(output, Output::Deliver { .. }));
    let mut sent = 0;
    let end = sim.now + time;
    while sim.now < end {
        for _ in 0..200 {
            let now = sim.now;
            let payload = vec![1; SEND_LENGTH_MAX];
            sim.with(from, |mesh| mesh.send(now, destination, Protocol::Stream, &payload)).unwrap();
            sent += 1;
            sim.run(Duration::from_millis(5));
        }
    }
    sim.run(Duration::from_millis(20));
    sent + before - sim.count(to, |output| matches!(output, Output::Deliver { .. }))
}

#[test]
fn traffic_moves_to_the_new_way_without_loss() {
    let mut sim = Sim::new(4, 74);
    let first = sim.routers.add(Kind::PortRestricted, "203.0.113.1", None);
    let second = sim.routers.add(Kind::PortRestricted, "203.0.113.2", None);
    sim.routers.put(sim.machines[2].endpoint, first);
    sim.routers.put(sim.machines[3].endpoint, second);
    (0..3).for_each(|index| sim.start(index));
    sim.run(seconds(5));
    sim.start(3);
    sim.run_until(seconds(3), |sim| sim.is_connected(&[0, 1, 2, 3]));
    assert!(!is_direct(&sim, 2, 3), "the stream begins on the way through others");
    assert_eq!(lost_while(&mut sim, 2, 3, seconds(15)), 0);
    assert!(is_direct(&sim, 2, 3));
}

#[test]
fn a_machine_that_moves_behind_another_router_is_found_again() {
    let mut sim = between(Kind::PortRestricted, Kind::PortRestricted, 75);
    live(&mut sim, 20);
    assert!(is_direct(&sim, 2, 3));
    let router = sim.routers.add(Kind::PortRestricted, "203.0.113.3", None);
    let moved = "10.3.0.9:4863".parse().unwrap();
    sim.routers.put(moved, router);
    sim.machines[2].endpoint = moved;
    let now = sim.now;
    sim.with(2, |mesh| mesh.set_local_endpoints(now, vec![moved]));
    // The machines on the internet hear of it with the first packet.
    sim.run(Duration::from_millis(10));
    assert!(delivers(&mut sim, 0, 2));
    live(&mut sim, 15);
    assert!(is_direct(&sim, 2, 3) && is_direct(&sim, 3, 2));
    assert_eq!(
        sim.mesh(2).nat().external[0].ip(),
        "203.0.113.3".parse::<std::net::IpAddr>().unwrap()
    );
}

#[test]
fn a_router_that_lost_its_memory_is_got_through_again() {
    let mut sim = between(Kind::PortRestricted, Kind::Restricted, 76);
    live(&mut sim, 20);
    sim.routers.forget(0);
    live(&mut sim, 15);
    assert!(is_direct(&sim, 2, 3) && is_direct(&sim, 3, 2));
}

#[test]
fn traffic_makes_a_link_where_the_rings_make_none() {
    let mut sim = Sim::running(24, 77);
    sim.run(seconds(40));
    let far = (1..24).find(|index| sim.route(0, *index).is_some_and(|(_, hops)| hops > 1)).unwrap();
    let links = sim.link_count(0);
    assert_eq!(lost_while(&mut sim, 0, far, seconds(12)), 0);
    assert!(is_direct(&sim, 0, far));
    assert_eq!(sim.link_count(0), links + 1);
    // When the traffic has ended the link goes.
    sim.run(seconds(120));
    assert_eq!(sim.link_count(0), links);
}
