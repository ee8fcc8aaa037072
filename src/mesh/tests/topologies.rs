//! Networks of a given shape.

use super::*;

const CHAIN: [(usize, usize); 4] = [(0, 1), (1, 2), (2, 3), (3, 4)];

#[test]
fn a_chain_of_five_delivers_from_end_to_end_and_breaks_where_it_is_cut() {
    let mut sim = Sim::joined(5, 130, &CHAIN);
    assert_eq!(sim.route(0, 4), Some((1, 4)));
    assert!(delivers(&mut sim, 0, 4) && delivers(&mut sim, 4, 0));
    sim.cut(1, 2);
    sim.run(seconds(6));
    assert!(sim.is_connected(&[0, 1]) && sim.is_connected(&[2, 3, 4]));
    assert!([2, 3, 4].iter().all(|far| sim.route(0, *far).is_none()));
    sim.mend(1, 2);
    sim.run_until(seconds(40), |sim| sim.is_connected(&[0, 1, 2, 3, 4]));
    assert!(delivers(&mut sim, 0, 4) && delivers(&mut sim, 4, 0));
}

#[test]
fn a_tree_delivers_between_its_leaves_and_loses_only_the_branch_that_falls() {
    let pairs = [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)];
    let mut sim = Sim::joined(7, 131, &pairs);
    assert_eq!(sim.route(3, 6), Some((1, 4)));
    assert!(delivers(&mut sim, 3, 6) && delivers(&mut sim, 5, 4));
    sim.machines[2].mesh = None;
    sim.run(seconds(6));
    assert!(sim.is_connected(&[0, 1, 3, 4]));
    assert_eq!((sim.route(3, 5), sim.route(0, 6)), (None, None));
    sim.start(2);
    sim.run_until(seconds(40), |sim| sim.is_connected(&[0, 1, 2, 3, 4, 5, 6]));
    assert!(delivers(&mut sim, 3, 6));
}

#[test]
fn a_ring_of_five_goes_the_other_way_round() {
    let pairs = [CHAIN.as_slice(), &[(0, 4)]].concat();
    let mut sim = Sim::joined(5, 132, &pairs);
    sim.run(seconds(5));
    assert_eq!(sim.route(0, 2), Some((1, 2)));
    sim.cut(1, 2);
    sim.run_until(Duration::from_millis(1_500), |sim| sim.route(0, 2) == Some((4, 3)));
    assert!(delivers(&mut sim, 0, 2) && delivers(&mut sim, 1, 2));
    let ways = sim.mesh(0).alternatives(sim.machines[2].id);
    assert_eq!(ways.len(), 2);
    assert!(ways[0].is_chosen && ways[0].is_nearer && !ways[1].is_chosen && !ways[1].is_nearer);
    assert_eq!(ways[0].path, [4, 3, 2].map(|index: usize| sim.machines[index].id));
    assert!(ways[0].route.cost_ms < ways[1].route.cost_ms);
}

#[test]
fn a_stale_route_loses_a_packet_and_makes_no_storm() {
    let mut sim = Sim::joined(3, 133, &[(0, 1), (1, 2), (0, 2)]);
    sim.run(seconds(5));
    // Both others think that the way to the third leads over the respective other one.
    let (zero, one, two) =
        (sim.machines[0].id.address(), sim.machines[1].id.address(), sim.machines[2].id.address());
    for (index, hop) in [(0, one), (1, zero)] {
        sim.with(index, |mesh| mesh.routes.get_mut(&two).unwrap().first_hop = hop);
    }
    let (before, now, id) = (sim.sent_count, sim.now, sim.machines[2].id);
    sim.with(0, |mesh| mesh.send(now, id, Protocol::Stream, b"lost")).unwrap();
    sim.run(Duration::from_millis(30));
    assert!(sim.sent_count - before <= 4, "{} datagrams", sim.sent_count - before);
}

#[test]
fn a_circle_of_stale_routes_ends_by_ttl() {
    let mut sim = Sim::joined(5, 134, &[(0, 1), (1, 2), (0, 2), (2, 3), (0, 4)]);
    // By then those that cannot reach each other directly try it rarely.
    sim.run(seconds(45));
    let addresses: Vec<_> = sim.machines.iter().map(|machine| machine.id.address()).collect();
    for index in 0..3 {
        let next = addresses[(index + 1) % 3];
        sim.with(index, |mesh| mesh.routes.get_mut(&addresses[3]).unwrap().first_hop = next);
    }
    let (before, now, id) = (sim.sent_count, sim.now, sim.machines[3].id);
    sim.with(4, |mesh| mesh.send(now, id, Protocol::Stream, b"round")).unwrap();
    sim.run(Duration::from_millis(60));
    let sent = sim.sent_count - before;
    assert!((32..44).contains(&sent), "{sent} datagrams");
}

#[test]
fn who_is_missing_is_dialled_at_once_when_asked() {
    let mut sim = Sim::running(3, 133);
    sim.run(seconds(3));
    sim.machines[2].mesh = None;
    for index in [0, 1] {
        let peers = sim.peers(|peer| peer != 2);
        sim.set_peers(index, peers);
    }
    sim.run(seconds(180));
    sim.capture = Some(Vec::new());
    let missing = sim.machines[2].endpoint;
    let asked =
        |sim: &Sim| sim.capture.iter().flatten().filter(|sent| sent.destination == missing).count();
    let now = sim.now;
    sim.with(0, |mesh| mesh.handle_timeout(now));
    assert_eq!(asked(&sim), 0, "it is dialled anyway");
    sim.with(0, |mesh| {
        mesh.dial_missing(now);
        mesh.handle_timeout(now);
    });
    assert_eq!(asked(&sim), 1);
}
