//! Members with a sound key that lie about links. What they may lose is their own traffic.

use std::collections::BTreeMap;

use super::*;
use crate::mesh::fixture::cluster;
use crate::mesh::link_state::Advertisement;
use crate::mesh::link_state::SEQUENCE_MAX;
use crate::mesh::metric::Metric;
use crate::mesh::wire::Frame;

const FREE: u32 = 0;

/// What `liar` signs: links to these members, at these metrics. The sequence is the last there is, so that
/// what its own mesh says does not take it back.
fn lie(liar: usize, links: &[(usize, Metric)]) -> Advertisement {
    let links: BTreeMap<_, _> =
        links.iter().map(|(to, metric)| (key(*to).node_id().address(), *metric)).collect();
    Advertisement::sign(&key(liar), cluster(0), SEQUENCE_MAX, &links)
}

/// `from` hands an advertisement to its neighbour `to`.
fn say(sim: &mut Sim, from: usize, to: usize, bytes: &[u8]) {
    let peer = sim.machines[to].id.address();
    assert!(sim.with(from, |mesh| mesh.transmit(peer, &Frame::States(vec![bytes]))));
}

fn sequence(sim: &Sim, at: usize, of: usize) -> u64 {
    sim.mesh(at).states.sequence(sim.machines[of].id.address()).unwrap()
}

fn free() -> Metric {
    Metric::from_bits(FREE)
}

#[test]
fn invented_links_capture_nothing() {
    // The liar, 3, has one link; it claims all others, and one to a machine that does not exist.
    let mut sim = Sim::joined(4, 140, &[(0, 1), (1, 2), (0, 3)]);
    sim.run(seconds(5));
    let said = lie(3, &[(0, free()), (1, free()), (2, free()), (77, free())]);
    say(&mut sim, 3, 0, &said.bytes);
    sim.run(seconds(2));
    assert_eq!(sequence(&sim, 1, 3), SEQUENCE_MAX, "the lie is heard");
    assert_eq!((sim.route(0, 1), sim.route(0, 2)), (Some((1, 1)), Some((1, 2))));
    assert_eq!((sim.route(2, 0), sim.route(2, 3)), (Some((1, 2)), Some((1, 3))));
    assert_eq!(sim.mesh(0).report().routes.len(), 3);
    assert!(delivers(&mut sim, 0, 2) && delivers(&mut sim, 2, 0));
}

#[test]
fn a_link_cannot_be_made_cheaper_than_its_other_end_says() {
    let mut sim = Sim::joined(4, 141, &[(0, 1), (1, 2), (0, 3), (2, 3)]);
    sim.run(seconds(5));
    let id = sim.machines[2].id;
    let costs = |sim: &Sim| -> Vec<(Vec<usize>, f64)> {
        let place = |id: &_| sim.machines.iter().position(|machine| machine.id == *id).unwrap();
        let ways = sim.mesh(0).alternatives(id);
        ways.iter().map(|way| (way.path.iter().map(place).collect(), way.route.cost_ms)).collect()
    };
    let before = costs(&sim);
    let said = lie(3, &[(0, free()), (2, free())]);
    say(&mut sim, 3, 0, &said.bytes);
    sim.run(seconds(2));
    assert_eq!(sequence(&sim, 1, 3), SEQUENCE_MAX);
    for ((path, cost_ms), (path_before, cost_before_ms)) in costs(&sim).iter().zip(&before) {
        assert_eq!(path, path_before);
        assert!((cost_ms - cost_before_ms).abs() < 0.1, "{cost_ms} ms, {cost_before_ms} ms before");
    }
}

#[test]
fn prices_without_measure_drive_away_only_the_liars_own_traffic() {
    let mut sim = Sim::joined(4, 142, &[(0, 1), (1, 2), (0, 3), (2, 3)]);
    sim.run(seconds(5));
    let dear = Metric::from_bits(u32::MAX);
    let said = lie(3, &[(0, dear), (2, dear)]);
    say(&mut sim, 3, 0, &said.bytes);
    sim.run(seconds(2));
    assert_eq!((sim.route(0, 2), sim.route(2, 0)), (Some((1, 2)), Some((1, 2))));
    assert_eq!(sim.route(0, 1), Some((1, 1)));
    assert!(delivers(&mut sim, 0, 2) && delivers(&mut sim, 0, 3) && delivers(&mut sim, 3, 1));
}

#[test]
fn the_sequence_above_the_last_is_nothing_and_the_last_ends_only_its_key() {
    let mut sim = Sim::joined(3, 143, &[(0, 1), (0, 2)]);
    sim.run(seconds(5));
    let before = sequence(&sim, 0, 2);
    let links = BTreeMap::from([(sim.machines[0].id.address(), free())]);
    let beyond = Advertisement::sign(&key(2), cluster(0), u64::MAX, &links);
    say(&mut sim, 2, 0, &beyond.bytes);
    sim.run(seconds(2));
    assert_eq!(sequence(&sim, 0, 2), before);
    let said = lie(2, &[]);
    say(&mut sim, 2, 0, &said.bytes);
    sim.run(seconds(2));
    let sent = sim.sent_count;
    sim.run(seconds(60));
    assert!((sim.sent_count - sent) / 60 < 20, "the spent key makes no storm");
    assert_eq!(sim.route(1, 0), Some((0, 1)));
    assert!(delivers(&mut sim, 0, 1) && delivers(&mut sim, 0, 2));
}

#[test]
fn a_flood_of_news_is_passed_on_at_a_bounded_rate() {
    let mut sim = Sim::joined(4, 144, &[(0, 1), (0, 2), (1, 2), (0, 3)]);
    sim.run(seconds(30));
    let passed_on = |sim: &Sim| sim.mesh(0).report().flood.sent;
    let (before, first) = (passed_on(&sim), sequence(&sim, 0, 3) + 1_000);
    for number in 0..2_000 {
        let metric = Metric::new(u32::try_from(number % 500).unwrap() * 1_000, 0);
        let links = BTreeMap::from([(sim.machines[0].id.address(), metric)]);
        let news = Advertisement::sign(&key(3), cluster(0), first + number, &links);
        say(&mut sim, 3, 0, &news.bytes);
        sim.run(Duration::from_millis(5));
    }
    // 32 at once and 4 a second for 10 s, to two neighbours.
    let sent = passed_on(&sim) - before;
    assert!((40..200).contains(&sent), "{sent} passed on");
    assert!(sequence(&sim, 1, 3) > first);
    // The news of others travel as before.
    sim.cut(1, 2);
    sim.run(seconds(3));
    assert_eq!((sim.route(1, 2), sim.route(2, 1)), (Some((0, 2)), Some((0, 2))));
}

#[test]
fn what_others_did_not_sign_changes_nothing_and_costs_them_nothing() {
    let mut sim = Sim::joined(4, 145, &[(0, 1), (0, 2), (1, 2), (0, 3)]);
    sim.run(seconds(5));
    let (before, passed_on) = (sequence(&sim, 0, 1), sim.mesh(0).report().flood.sent);
    for number in 0..5_000u64 {
        let forged =
            Advertisement::sign(&key(3), cluster(0), before + 1 + number, &BTreeMap::new());
        let mut bytes = forged.bytes;
        bytes[1..17].copy_from_slice(&sim.machines[1].id.address().octets());
        say(&mut sim, 3, 0, &bytes);
    }
    sim.run(seconds(1));
    assert_eq!(sequence(&sim, 0, 1), before);
    assert!(sim.mesh(0).report().flood.sent - passed_on < 20);
    sim.cut(1, 2);
    sim.run(seconds(3));
    assert_eq!(sim.route(3, 2), Some((0, 2)));
    assert!(sequence(&sim, 0, 1) > before, "the true one is heard");
}

#[test]
fn old_advertisements_bring_nothing_back() {
    let mut sim = Sim::joined(4, 146, &[(0, 1), (1, 2), (0, 2), (0, 3)]);
    sim.run(seconds(5));
    let old = |sim: &Sim, of: usize| {
        sim.mesh(0).states.get(sim.machines[of].id.address()).unwrap().bytes.clone()
    };
    let recorded = [old(&sim, 1), old(&sim, 2)];
    sim.cut(1, 2);
    sim.run(seconds(10));
    assert_eq!(sim.route(1, 2), Some((0, 2)));
    let (before, passed_on) = (sequence(&sim, 0, 1), sim.mesh(0).report().flood.sent);
    for bytes in recorded.iter().cycle().take(100) {
        say(&mut sim, 3, 0, bytes);
    }
    sim.run(seconds(3));
    assert_eq!(sequence(&sim, 0, 1), before);
    assert_eq!((sim.route(1, 2), sim.route(3, 2)), (Some((0, 2)), Some((0, 2))));
    assert!(sim.mesh(0).report().flood.sent - passed_on <= 8, "one answer, not one each");
}
