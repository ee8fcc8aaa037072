//! Links that die without a word, and links that are merely bad.

use super::*;

/// The longest time without a delivery that a way around a dead link may cost.
const LIMIT: Duration = Duration::from_millis(1_500);

/// How often something is sent while it is watched.
const TICK: Duration = Duration::from_millis(20);

/// Sends from one machine to another for `time`. Returns the longest time in which nothing came.
fn longest_gap(sim: &mut Sim, from: usize, to: usize, time: Duration) -> Duration {
    let end = sim.now + time;
    let destination = sim.machines[to].id;
    let mut last = sim.now;
    let mut longest = Duration::ZERO;
    while sim.now < end {
        sim.machines[to].outputs.clear();
        let now = sim.now;
        let _ = sim.with(from, |mesh| mesh.send(now, destination, Protocol::Stream, b"tick"));
        sim.run(TICK);
        if sim.count(to, |output| matches!(output, Output::Deliver { .. })) > 0 {
            last = sim.now;
        }
        longest = longest.max(sim.now.since(last));
    }
    assert!(sim.now.since(last) < seconds(1), "nothing comes any more");
    longest
}

/// Two ways of three links from the first to the last of six.
fn two_ways(seed: u8) -> Sim {
    Sim::joined(6, seed, &[(0, 1), (1, 2), (2, 5), (0, 3), (3, 4), (4, 5)])
}

/// The members on the way from the first to the last.
fn way(sim: &Sim) -> [usize; 4] {
    let (first, _) = sim.route(0, 5).unwrap();
    [0, first, first + 1, 5]
}

#[test]
fn a_dead_link_anywhere_on_the_way_is_left_in_time() {
    for seed in 0..4u8 {
        for place in 0..3 {
            for direction in 0..3 {
                let mut sim = two_ways(100 + seed);
                sim.run(seconds(3) + Duration::from_millis(u64::from(seed) * 137));
                longest_gap(&mut sim, 0, 5, seconds(1));
                let way = way(&sim);
                let (one, other) = (way[place], way[place + 1]);
                match direction {
                    0 => sim.cut(one, other),
                    1 => sim.cut_one_way(one, other),
                    _ => sim.cut_one_way(other, one),
                }
                let gap = longest_gap(&mut sim, 0, 5, seconds(4));
                assert!(gap < LIMIT, "{gap:?}: seed {seed}, place {place}, direction {direction}");
            }
        }
    }
}

#[test]
fn an_idle_link_that_died_costs_less_than_the_limit_too() {
    for seed in 0..8u8 {
        let mut sim = two_ways(110 + seed);
        sim.run(seconds(10) + Duration::from_millis(u64::from(seed) * 113));
        let way = way(&sim);
        sim.cut(way[1], way[2]);
        sim.run_until(LIMIT, |sim| sim.route(0, 5).is_some_and(|route| route.0 != way[1]));
    }
}

#[test]
fn a_suspected_link_is_taken_while_nothing_else_leads_there() {
    let mut sim = Sim::joined(3, 120, &[(0, 1), (1, 2)]);
    sim.run(seconds(5));
    sim.cut(1, 2);
    sim.run(seconds(3));
    let suspect = |sim: &Sim| sim.mesh(1).report().links.iter().any(|link| link.cost.is_suspect);
    assert!(suspect(&sim));
    assert_eq!(sim.route(0, 2), Some((1, 2)), "it is not given up yet");
    sim.mend(1, 2);
    assert!(delivers(&mut sim, 0, 2));
    sim.run(seconds(5));
    assert!(!suspect(&sim));
    assert_eq!(sim.count(1, is_down), 0);
}

#[test]
fn a_link_that_is_deaf_is_given_up() {
    let mut sim = Sim::joined(3, 121, &[(0, 1), (1, 2), (0, 2)]);
    sim.run(seconds(5));
    sim.cut_one_way(0, 1);
    sim.run(seconds(12));
    assert_eq!((sim.count(0, is_down), sim.count(1, is_down)), (1, 1));
    assert!(delivers(&mut sim, 0, 1) && delivers(&mut sim, 1, 0));
}

#[test]
fn a_link_that_comes_and_goes_is_used_ever_less() {
    let mut sim = Sim::joined(3, 122, &[(0, 1), (1, 2), (0, 2)]);
    sim.run(seconds(5));
    sim.machines[0].outputs.clear();
    for _ in 0..60 {
        sim.cut(0, 1);
        sim.run(seconds(2));
        sim.mend(0, 1);
        sim.run(seconds(3));
    }
    let changes = sim.count(0, |output| *output == Output::RoutesChanged);
    assert!(changes <= 20, "the first hop changed {changes} times in 5 minutes");
    sim.run(seconds(70));
    assert_eq!(sim.route(0, 1), Some((1, 1)), "it is trusted again");
}

#[test]
fn a_twentieth_of_all_datagrams_lost_makes_nothing_flap() {
    let all: Vec<_> = (0..10).collect();
    let mut sim = Sim::new(10, 123);
    sim.loss_percent = 5;
    sim.delay = Duration::from_millis(10);
    sim.noise = Duration::from_millis(5);
    for index in &all {
        sim.start(*index);
    }
    sim.run(seconds(120));
    for machine in &mut sim.machines {
        machine.outputs.clear();
    }
    for _ in 0..600 {
        sim.run(seconds(1));
        for index in &all {
            let links = sim.mesh(*index).report().links;
            assert!(links.iter().all(|link| !link.cost.is_suspect));
        }
    }
    let downs: usize = all.iter().map(|index| sim.count(*index, is_down)).sum();
    let changes: usize =
        all.iter().map(|index| sim.count(*index, |output| *output == Output::RoutesChanged)).sum();
    assert_eq!(downs, 0);
    assert!(changes <= 40, "{changes} changes of routes in 10 minutes on 10 machines");
    let measured: Vec<f64> = all
        .iter()
        .flat_map(|index| sim.mesh(*index).report().links)
        .filter_map(|link| link.loss)
        .collect();
    let mean = measured.iter().sum::<f64>() / f64::from(u32::try_from(measured.len()).unwrap());
    assert!((0.03..0.08).contains(&mean), "measured a loss of {mean}");
}

#[test]
fn two_equal_ways_with_noise_do_not_flap() {
    let mut sim = Sim::joined(4, 124, &[(0, 1), (1, 3), (0, 2), (2, 3)]);
    sim.delay = Duration::from_millis(10);
    sim.noise = Duration::from_millis(20);
    sim.run(seconds(60));
    let mut hops = Vec::new();
    for _ in 0..3_600 {
        sim.run(seconds(1));
        hops.push(sim.route(0, 3).unwrap().0);
    }
    let changes = hops.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes <= 4, "the first hop changed {changes} times in an hour");
}

#[test]
fn a_lossy_link_is_worth_a_detour() {
    let mut sim = Sim::joined(3, 125, &[(0, 1), (1, 2), (0, 2)]);
    sim.run(seconds(5));
    assert_eq!(sim.route(0, 2), Some((2, 1)));
    // One in ten of what goes over that link is lost, the way around costs 4 ms more.
    for round in 0..4_000 {
        if round % 10 == 0 {
            sim.cut(0, 2);
        }
        sim.run(Duration::from_millis(100));
        sim.mend(0, 2);
    }
    assert_eq!(sim.route(0, 2), Some((1, 2)));
    let report = sim.mesh(0).report();
    let loss_ms = report.links.iter().map(|link| link.cost.loss_ms).fold(0.0, f64::max);
    assert!((8.0..60.0).contains(&loss_ms), "{loss_ms} ms");
}
