//! Members that are pinned: `linked` and `tree`.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::model::reach::Reach;

/// Kind 1: the first message of a handshake.
const INITIATION: u8 = 1;

/// Machines of these kinds, all running. The parent of a tree one is the first.
fn of(kinds: &[Reach], seed: u8) -> Sim {
    let mut sim = Sim::new(kinds.len(), seed);
    for (machine, kind) in sim.machines.iter_mut().zip(kinds) {
        machine.reach = *kind;
        machine.parent = (*kind == Reach::Tree).then_some(0);
    }
    (0..kinds.len()).for_each(|index| sim.start(index));
    sim
}

fn neighbours(sim: &Sim, index: usize) -> BTreeSet<usize> {
    let report = sim.mesh(index).report();
    let place = |id| sim.machines.iter().position(|machine| machine.id == id).unwrap();
    report.links.iter().map(|link| place(link.peer)).collect()
}

/// Who began handshakes with `index`.
fn callers(sim: &Sim, index: usize) -> BTreeSet<usize> {
    let (to, sent) = (sim.machines[index].endpoint, sim.capture.as_deref().unwrap_or_default());
    sent.iter()
        .filter(|sent| sent.destination == to && sent.datagram[1] == INITIATION)
        .map(|sent| sim.machines.iter().position(|one| one.endpoint == sent.source).unwrap())
        .collect()
}

#[test]
fn a_tree_member_has_the_one_link_and_a_linked_one_is_not_dialled() {
    let mut sim = Sim::new(5, 140);
    (sim.machines[3].reach, sim.machines[4].reach) = (Reach::Linked, Reach::Tree);
    sim.machines[4].parent = Some(1);
    sim.capture = Some(Vec::new());
    (0..5).for_each(|index| sim.start(index));
    sim.run(seconds(20));
    assert!(sim.is_connected(&[0, 1, 2, 3, 4]));
    assert_eq!(neighbours(&sim, 4), [1].into());
    assert_eq!(neighbours(&sim, 3), [0, 1, 2].into());
    assert_eq!(sim.route(4, 3), Some((1, 2)));
    assert!(delivers(&mut sim, 4, 3) && delivers(&mut sim, 3, 4) && delivers(&mut sim, 2, 4));
    assert_eq!((callers(&sim, 3), callers(&sim, 4)), ([].into(), [].into()));
    // Keys change from either side, and nobody else ever tries.
    sim.run(seconds(600));
    assert!(callers(&sim, 4).is_subset(&[1].into()));
    assert!((0..5).all(|index| sim.count(index, is_down) == 0));
}

#[test]
fn a_pinned_member_answers_nobody_who_has_no_link_to_it() {
    // A linked one would dial a full one itself.
    for (pinned, asker) in [(Reach::Linked, 3), (Reach::Tree, 0)] {
        let mut sim = Sim::new(4, 141);
        (sim.machines[2].reach, sim.machines[2].parent) = (pinned, Some(1));
        sim.machines[3].reach = Reach::Linked;
        (0..4).for_each(|index| sim.start(index));
        sim.run(seconds(5));
        assert!(sim.is_connected(&[0, 1, 2, 3]));
        // Who has not heard what it is dials it.
        let mut peers = sim.peers(|_| true);
        peers[2].reach = Reach::Full;
        sim.set_peers(asker, peers);
        sim.capture = Some(Vec::new());
        sim.run(seconds(20));
        assert!(callers(&sim, 2).contains(&asker), "{pinned}");
        let (own, other) = (sim.machines[2].endpoint, sim.machines[asker].endpoint);
        let sent = sim.capture.iter().flatten();
        let answers = sent.filter(|sent| sent.source == own && sent.destination == other);
        assert_eq!(answers.count(), 0, "{pinned}");
        assert!(delivers(&mut sim, asker, 2), "{pinned}");
    }
}

#[test]
fn a_tree_member_falls_with_its_parent_and_returns_with_it() {
    let mut sim = of(&[Reach::Full, Reach::Full, Reach::Full, Reach::Tree], 142);
    sim.run(seconds(5));
    sim.machines[0].mesh = None;
    sim.run(seconds(30));
    assert!(sim.is_connected(&[1, 2]) && sim.link_count(3) == 0);
    assert_eq!(sim.route(1, 3), None);
    sim.start(0);
    sim.run_until(seconds(40), |sim| sim.is_connected(&[0, 1, 2, 3]));
    assert_eq!(neighbours(&sim, 3), [0].into());
}

#[test]
fn a_tree_member_that_does_not_know_its_parent_yet_asks_around_and_lets_go_then() {
    let mut sim = Sim::new(4, 143);
    sim.machines[3].reach = Reach::Tree;
    (0..4).for_each(|index| sim.start(index));
    sim.run(seconds(5));
    assert_eq!(neighbours(&sim, 3), [0, 1, 2].into());
    let (now, parent) = (sim.now, sim.machines[2].id);
    sim.with(3, |mesh| mesh.set_parent(now, Some(parent)));
    sim.run(seconds(5));
    assert_eq!(neighbours(&sim, 3), [2].into());
    assert!(sim.is_connected(&[0, 1, 2, 3]) && delivers(&mut sim, 0, 3));
    sim.run(seconds(60));
    assert_eq!(neighbours(&sim, 3), [2].into());
}

#[test]
fn a_linked_member_gets_through_its_router_and_through_theirs() {
    for kind in [Kind::PortRestricted, Kind::Symmetric] {
        let mut sim = Sim::new(4, 144);
        sim.machines[3].reach = Reach::Linked;
        let near = sim.routers.add(kind, "203.0.113.1", None);
        let far = sim.routers.add(Kind::Restricted, "203.0.113.2", None);
        sim.routers.put(sim.machines[3].endpoint, near);
        sim.routers.put(sim.machines[2].endpoint, far);
        (0..4).for_each(|index| sim.start(index));
        sim.run(seconds(30));
        assert_eq!(neighbours(&sim, 3), [0, 1, 2].into(), "{kind:?}");
    }
}

fn kinds() -> impl Strategy<Value = Vec<Reach>> {
    let kind = prop_oneof![
        3 => Just(Reach::Full), 1 => Just(Reach::Linked), 1 => Just(Reach::Tree)
    ];
    prop::collection::vec(kind, 1..12).prop_map(|mut rest| {
        rest.insert(0, Reach::Full);
        rest
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whoever is pinned in whatever way: all reach all, no pinned member was dialled, and no two
    /// of them are neighbours.
    #[test]
    fn the_whole_mesh_is_connected_and_nobody_pinned_is_dialled(kinds in kinds(), seed: u8) {
        let mut sim = of(&kinds, seed);
        sim.capture = Some(Vec::new());
        sim.run(seconds(12));
        let all: Vec<usize> = (0..kinds.len()).collect();
        prop_assert!(sim.is_connected(&all));
        for (index, kind) in kinds.iter().enumerate().filter(|(_, kind)| **kind != Reach::Full) {
            prop_assert_eq!(callers(&sim, index), BTreeSet::new());
            let neighbours = neighbours(&sim, index);
            prop_assert!(neighbours.iter().all(|one| kinds[*one] == Reach::Full));
            prop_assert!(*kind != Reach::Tree || neighbours == BTreeSet::from([0]));
        }
    }
}
