//! What membership promises, told as stories and proven on the simulated network.

use std::collections::BTreeSet;
use std::time::Duration;

use foca::Member;
use foca::State;

use crate::gossip::core::Gossip;
use crate::gossip::core::Output;
use crate::gossip::error::GossipError;
use crate::gossip::settings::GossipSettings;
use crate::gossip::sim::EPOCH_MILLIS;
use crate::gossip::sim::Weather;
use crate::gossip::sim::World;
use crate::gossip::sim::facts;
use crate::gossip::sim::key;
use crate::model::member::Status;
use crate::model::time::Moment;
use crate::model::time::Timestamp;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// How long after a kill -9 each of the others has seen the failure.
fn detection(count: usize, seed: u64) -> Duration {
    let mut world = World::settled(count, Weather::default(), seed);
    world.run(Duration::from_millis(seed * 137 % 1_000));
    let killed_at = world.now;
    world.kill(0);
    assert!(world.run_until(seconds(60), |world| world.all_see(0, Status::Failed)));
    world.now.since(killed_at)
}

#[test]
fn all_of_ten_members_see_a_killed_one_fail_within_a_median_of_six_seconds() {
    let mut times: Vec<Duration> = (0..31).map(|seed| detection(10, seed)).collect();
    times.sort();
    assert!(times[15] < Duration::from_millis(5_500), "median {:?}", times[15]);
    assert!(times[30] < seconds(9), "longest {:?}", times[30]);
}

#[test]
fn no_living_member_is_called_failed_in_ten_minutes_on_starved_machines() {
    // Agents run a third of the time, and are away for up to two seconds at a stretch.
    let weather = Weather { delay_ms: 1..40, loss: 0.01, starvation_ms: Some((2_000, 1_000)) };
    for seed in 0..3 {
        let mut world = World::settled(10, weather.clone(), seed);
        world.run(seconds(600));
        let histories = world.machines.iter().flat_map(|machine| &machine.history);
        let failed: Vec<_> =
            histories.clone().filter(|(_, _, status)| *status == Status::Failed).collect();
        let suspected = histories.filter(|(_, _, status)| *status == Status::Suspect).count();
        // Without the clock that stands still while an agent is starved there are over 3,000.
        assert!((1..1_000).contains(&suspected), "seed {seed}: {suspected} suspicions");
        assert!(failed.is_empty(), "seed {seed}: {failed:?}");
    }
}

fn joining(count: usize) -> Duration {
    let mut world = World::new(count, Weather::default(), 1);
    for number in 0..count {
        world.start(number);
    }
    assert!(world.run_until(seconds(60), World::all_alive));
    world.now.since(Moment::START)
}

#[test]
fn a_hundred_members_that_start_at_once_find_each_other() {
    let took = joining(100);
    assert!(took < seconds(10), "{took:?}");
}

#[test]
#[ignore = "a minute of simulation: cargo test --release -- --ignored thousand"]
fn a_thousand_members_that_start_at_once_find_each_other() {
    let took = joining(1_000);
    assert!(took < seconds(20), "{took:?}");
}

#[test]
fn three_members_that_start_at_once_find_each_other_within_half_a_second() {
    assert!(joining(3) < Duration::from_millis(500));
}

#[test]
fn an_idle_member_sends_less_than_two_hundred_bytes_a_second() {
    let mut world = World::settled(10, Weather::default(), 1);
    world.run(seconds(60));
    let before: usize = world.machines.iter().map(|machine| machine.bytes_sent).sum();
    world.run(seconds(100));
    let after: usize = world.machines.iter().map(|machine| machine.bytes_sent).sum();
    let rate = (after - before) / 1_000;
    assert!(rate < 200, "{rate} bytes/s");
}

#[test]
fn a_goodbye_is_no_failure_and_later_joiners_learn_of_both() {
    let mut world = World::new(8, Weather::default(), 3);
    for number in 0..7 {
        world.start(number);
    }
    world.run(seconds(10));
    world.act(0, Gossip::leave);
    assert!(world.run_until(seconds(1), |world| world.all_see(0, Status::Left)));
    world.kill(0);
    world.kill(1);
    assert!(world.run_until(seconds(15), |world| world.all_see(1, Status::Failed)));
    assert_eq!(world.status(2, 7), Some(Status::Booting), "named and never seen");
    world.start(7);
    let informed = |world: &World| {
        world.status(7, 0) == Some(Status::Left) && world.status(7, 1) == Some(Status::Failed)
    };
    assert!(world.run_until(seconds(5), informed));
    assert!(world.run_until(seconds(5), World::all_alive));
    world.start(0);
    world.start(1);
    assert!(world.run_until(seconds(5), World::all_alive), "both came back");
}

#[test]
fn a_member_that_restarts_with_its_clock_set_back_is_taken_back() {
    let mut world = World::settled(5, Weather::default(), 4);
    world.kill(0);
    world.run(Duration::from_millis(300));
    world.start_at(0, EPOCH_MILLIS - 3_600_000);
    assert!(world.run_until(seconds(5), World::all_alive));
    world.kill(0);
    assert!(world.run_until(seconds(15), |world| world.all_see(0, Status::Failed)));
    world.start_at(0, EPOCH_MILLIS - 7_200_000);
    assert!(world.run_until(seconds(5), World::all_alive));
    world.run(seconds(30));
    assert!(world.all_alive());
}

#[test]
fn a_suspicion_of_which_its_subject_never_heard_is_refuted() {
    let mut world = World::settled(4, Weather::default(), 7);
    let suspect = world.id(1).address();
    // As after a cut: who spread the news is gone, and nobody waits for the end of a respite.
    world.act(0, |gossip, now| {
        let life = *gossip.swim.get(suspect).unwrap().id();
        gossip.swim.apply(vec![Member::new(life, 0, State::Suspect)], false);
        gossip.settle(now);
    });
    assert_eq!(world.status(0, 1), Some(Status::Suspect));
    assert!(world.run_until(seconds(10), World::all_alive), "suspected for ever");
}

#[test]
fn two_halves_that_gave_each_other_up_find_together_again() {
    let mut world = World::settled(10, Weather::default(), 5);
    world.cut(0..4, 1);
    assert!(world.run_until(seconds(60), |world| {
        (0..4).all(|left| {
            (4..10).all(|right| {
                world.status(left, right) == Some(Status::Failed)
                    && world.status(right, left) == Some(Status::Failed)
            })
        })
    }));
    world.cut(0..4, 0);
    assert!(world.run_until(seconds(20), World::all_alive));
    world.run(seconds(30));
    assert!(world.all_alive());
}

#[test]
fn the_last_survivor_of_two_takes_the_other_back() {
    let mut world = World::settled(2, Weather::default(), 6);
    world.kill(0);
    assert!(world.run_until(seconds(15), |world| world.all_see(0, Status::Failed)));
    world.run(seconds(120));
    world.start(0);
    assert!(world.run_until(seconds(3), World::all_alive));
}

#[test]
fn changed_facts_reach_everybody_within_a_second() {
    for padding in [0, 8_000] {
        let mut world = World::settled(10, Weather { loss: 0.01, ..Weather::default() }, 7);
        let signed = facts(world.key(3), EPOCH_MILLIS, padding);
        world.act(3, |gossip, now| gossip.set_own_facts(now, &signed));
        let began = world.now;
        assert!(world.run_until(seconds(20), |world| world.all_hold(3, EPOCH_MILLIS)));
        let took = world.now.since(began);
        assert!(took < seconds(if padding == 0 { 1 } else { 4 }), "{took:?}");
    }
}

#[test]
fn who_missed_the_news_gets_all_facts_by_exchange() {
    let mut world = World::new(6, Weather::default(), 8);
    for number in 0..5 {
        world.start(number);
        let signed = facts(world.key(number), EPOCH_MILLIS, 0);
        world.act(number, |gossip, now| gossip.set_own_facts(now, &signed));
    }
    world.run(seconds(20));
    world.start(5);
    let informed = |world: &World| (0..5).all(|number| world.all_hold(number, EPOCH_MILLIS));
    assert!(world.run_until(seconds(3), informed));
}

#[test]
fn members_that_agree_exchange_a_few_dozen_bytes() {
    let mut world = World::settled(10, Weather::default(), 9);
    let request = world.machines[0].gossip.as_mut().unwrap().exchange_request();
    let (now, source) = (world.now, world.id(0));
    let gossip = world.machines[1].gossip.as_mut().unwrap();
    let response = gossip.handle_exchange_request(now, source, &request).unwrap();
    assert!(request.len() + response.len() <= 40, "{} bytes", request.len() + response.len());
}

#[test]
fn only_members_are_heard_and_a_removed_one_is_forgotten() {
    let mut world = World::settled(3, Weather::default(), 10);
    let (first, second, third) = (world.id(0), world.id(1), world.id(2));
    let signed = facts(world.key(2), EPOCH_MILLIS, 0);
    world.act(2, |gossip, now| gossip.set_own_facts(now, &signed));
    world.run(seconds(2));
    for number in [0, 1] {
        let members = BTreeSet::from([first, second]);
        world.act(number, |gossip, now| gossip.set_members(now, &members));
    }
    world.run(seconds(20));
    assert_eq!(world.status(0, 2), None);
    assert_eq!(world.status(0, 1), Some(Status::Alive));
    let now = world.now;
    let gossip = world.machines[0].gossip.as_mut().unwrap();
    assert!(gossip.facts(third).is_none() && !gossip.statuses().contains_key(&third));
    let request = gossip.exchange_request();
    let refused = gossip.handle_exchange_request(now, third, &request);
    assert_eq!(refused, Err(GossipError::NotAMember(third)));
}

#[test]
fn forged_facts_are_not_kept() {
    let mut world = World::settled(3, Weather::default(), 11);
    let victim = key(1);
    let forged = facts(&key(0), EPOCH_MILLIS, 0);
    let mut bytes = postcard::to_allocvec(&forged).unwrap();
    bytes[..32].copy_from_slice(victim.node_id().as_bytes());
    let forged = postcard::from_bytes(&bytes).unwrap();
    world.act(0, |gossip, now| gossip.set_own_facts(now, &forged));
    world.act(1, |gossip, now| gossip.set_own_facts(now, &forged));
    world.run(seconds(20));
    assert!(world.machines[2].gossip.as_ref().unwrap().facts(victim.node_id()).is_none());
    assert!(world.machines[1].gossip.as_ref().unwrap().facts(victim.node_id()).is_none());
}

#[test]
fn a_member_whose_facts_fell_behind_is_told_so() {
    let mut world = World::settled(3, Weather::default(), 12);
    let later = facts(world.key(0), EPOCH_MILLIS + 5, 0);
    world.act(0, |gossip, now| gossip.set_own_facts(now, &later));
    world.run(seconds(2));
    let (me, peer, now) = (world.id(0), world.id(1), world.now);
    let started_at = Timestamp::from_millis(EPOCH_MILLIS);
    let mut restarted = Gossip::new(me, started_at, GossipSettings::default(), 1);
    restarted.set_members(now, &BTreeSet::from([peer]));
    restarted.set_own_facts(now, &facts(&key(0), EPOCH_MILLIS, 0));
    let other = world.machines[1].gossip.as_mut().unwrap();
    let digest = other.handle_exchange_request(now, me, &restarted.exchange_request()).unwrap();
    restarted.handle_exchange_response(now, peer, &digest).unwrap();
    let mut outputs = std::iter::from_fn(|| restarted.poll_output());
    assert!(outputs.any(|output| output == Output::FactsOutdated { version: EPOCH_MILLIS + 5 }));
}

#[test]
fn two_runs_from_one_seed_are_the_same() {
    let run = || {
        let weather = Weather { loss: 0.1, ..Weather::default() };
        let mut world = World::settled(6, weather, 13);
        world.kill(2);
        world.run(seconds(20));
        let machines = world.machines.iter();
        machines.map(|machine| (machine.bytes_sent, machine.history.clone())).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn an_agent_can_move_between_threads() {
    fn assert_send<T: Send>() {}
    assert_send::<Gossip>();
}
