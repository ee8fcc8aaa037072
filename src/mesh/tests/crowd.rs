//! Many members: news crosses every link about once, whoever comes and goes.

use std::collections::BTreeSet;

use super::*;
use crate::mesh::output::Peer;
use crate::mesh::report::FloodReport;
use crate::mesh::ring::Rings;
use crate::model::reach::Reach;

/// All that was passed on so far.
fn flooded(sim: &Sim) -> FloodReport {
    let reports = sim.machines.iter().filter_map(|machine| machine.mesh.as_ref());
    reports.map(|mesh| mesh.report().flood).fold(FloodReport::default(), |sum, one| FloodReport {
        own: sum.own + one.own,
        own_costs: sum.own_costs + one.own_costs,
        sent: sum.sent + one.sent,
        bytes_sent: sum.bytes_sent + one.bytes_sent,
        received: sum.received + one.received,
        new: sum.new + one.new,
    })
}

fn links(sim: &Sim) -> u64 {
    (0..sim.machines.len()).map(|index| sim.link_count(index) as u64).sum::<u64>() / 2
}

/// Members on three rings. Each knows its neighbours and `known`, whose news are followed: what else there is
/// to know would only fill the memory.
fn crowd(count: usize, seed: u8, known: &BTreeSet<usize>) -> Sim {
    let mut sim = Sim::new(count, seed);
    let addresses: Vec<_> = sim.machines.iter().map(|machine| machine.id.address()).collect();
    let rings = Rings::new(3, addresses.iter().copied());
    for index in 0..count {
        sim.start_alone(index);
        let near = rings.neighbours(addresses[index], |_| true);
        let peer = |other: usize| Peer {
            id: sim.machines[other].id,
            endpoints: vec![sim.machines[other].endpoint],
            // Nobody looks for the others where routes do not lead, for want of knowledge.
            alive: near.contains(&addresses[other]),
            reach: Reach::Full,
        };
        let is_known = |other: &usize| near.contains(&addresses[*other]) || known.contains(other);
        let peers = (0..count).filter(is_known).map(peer).collect();
        sim.set_peers(index, peers);
    }
    sim
}

#[test]
fn one_change_among_a_thousand_crosses_every_link_about_once() {
    let addresses: Vec<_> = (0..1_000).map(|index| key(index).node_id().address()).collect();
    let near = Rings::new(3, addresses.iter().copied()).neighbours(addresses[0], |_| true);
    let other = addresses.iter().position(|address| near.contains(address)).unwrap();
    let mut sim = crowd(1_000, 150, &BTreeSet::from([0, other]));
    sim.run(seconds(6));
    let edges = links(&sim);
    assert!((2_900..3_100).contains(&edges), "{edges} links");
    let before = flooded(&sim);
    sim.cut(0, other);
    sim.run(seconds(3));
    let after = flooded(&sim);
    let (sent, new) = (after.sent - before.sent, after.new - before.new);
    let bytes = after.bytes_sent - before.bytes_sent;
    println!("{edges} links: {sent} advertisements, {new} of them news, {bytes} bytes");
    // Each of two members says once that the link is suspect; everybody hears both.
    assert!((1_996..=2_100).contains(&new), "{new} heard");
    assert!(sent <= 2 * 2 * edges, "{sent} advertisements sent over {edges} links");
    assert!(bytes <= sent * 250, "{bytes} bytes");
}

#[test]
fn two_hundred_that_start_at_once_make_no_storm() {
    let mut sim = Sim::running(200, 151);
    let all: Vec<_> = (0..200).collect();
    sim.run_until(seconds(5), |sim| sim.is_connected(&all));
    sim.run(seconds(3));
    let (flood, edges) = (flooded(&sim), links(&sim));
    println!("{flood:?} over {edges} links until {:?}", sim.now);
    // Everybody's list once or twice, as the links come.
    assert!(flood.new <= 200 * 200 * 2, "{} heard", flood.new);
    assert!(flood.sent <= 200 * edges * 4, "{} sent over {edges} links", flood.sent);
    sim.run(seconds(10));
    let sent = flooded(&sim).sent - flood.sent;
    assert!(sent <= 2 * edges, "{sent} sent when all is said");
}

#[test]
fn computers_that_are_busy_now_and_then_are_no_news() {
    let mut sim = Sim::running(40, 153);
    let all: Vec<_> = (0..40).collect();
    sim.run_until(seconds(5), |sim| sim.is_connected(&all));
    sim.run(seconds(10));
    let before = flooded(&sim);
    for round in 0..8 {
        // Every answer waits for a processor, or none does.
        sim.noise = Duration::from_millis(if round % 2 == 0 { 150 } else { 0 });
        sim.run(seconds(10));
    }
    let after = flooded(&sim);
    let (own, costs) = (after.own - before.own, after.own_costs - before.own_costs);
    println!("{own} lists signed in 80 seconds, {costs} of them for costs");
    // As often as a member may speak of costs, and not once for each link.
    assert!(own <= 40 * 5, "{own} lists of 40 members");
}

#[test]
fn new_links_are_told_together() {
    let mut sim = Sim::running(40, 154);
    sim.run(seconds(60));
    let flood = flooded(&sim);
    println!("{flood:?} over {} links", links(&sim));
    // Once when the first link works, and then what came meanwhile.
    assert!(flood.own <= 40 * 4, "{} lists of 40 members", flood.own);
}

#[test]
fn coming_and_going_costs_what_it_tells() {
    let all: Vec<_> = (0..20).collect();
    let mut sim = Sim::running(all.len(), 152);
    sim.run_until(seconds(5), |sim| sim.is_connected(&all));
    sim.run(seconds(5));
    let before = flooded(&sim);
    for round in 0..10 {
        // One ends without a word and starts anew after six seconds.
        sim.machines[round].mesh = None;
        sim.run(seconds(6));
        sim.start(round);
        sim.run(seconds(4));
    }
    sim.run_until(seconds(5), |sim| sim.is_connected(&all));
    let (after, edges) = (flooded(&sim), links(&sim));
    let sent = after.sent.saturating_sub(before.sent);
    println!("{sent} advertisements for 10 restarts, {edges} links");
    // Six neighbours suspect it, give it up, link with the next ones, and find it again; the list of
    // everybody goes to the one that forgot.
    assert!(sent <= 10 * (6 * 4 + 6 + 20) * edges * 2, "{sent} sent");
    assert!(delivers(&mut sim, 0, 19));
}
