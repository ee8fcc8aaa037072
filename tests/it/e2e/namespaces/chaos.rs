//! A fleet of local machines on a computer of its own, on which one thing after the other breaks.
//! What exists is read from the back-end's folders and from `/proc`, not from raptor's word.
//!
//! `RAPTOR_CHAOS_ROUNDS=50` makes it long, `RAPTOR_CHAOS_SEED=7` draws other moments and victims.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustix::process::Signal;

use crate::support::arena::Arena;
use crate::support::wait::{pass, stays, wait_until};

/// How long the members may take to mend what was broken.
const MENDED: Duration = Duration::from_secs(90);

/// Members of the fleet.
const COUNT: usize = 5;

/// Rounds of a test run.
const ROUNDS: u64 = 4;

/// What is broken in one round.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Some, or all but one, die for good.
    Death,
    /// Some hear and say nothing for a while.
    Cut,
    /// There is no room on the disk.
    Full,
    /// Some are stopped for a while, supervisors and all.
    Hang,
    /// Agents die; their supervisors start them again.
    Crash,
}

const FAULTS: [Fault; 5] = [Fault::Death, Fault::Cut, Fault::Full, Fault::Hang, Fault::Crash];

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn fleet_of(count: usize, limits: &str) -> Arena {
    let arena = Arena::new();
    let count = count.to_string();
    arena.raptor(&["spawn", "--count", &count]).success();
    arena.raptor(&["config", "set", "fleet", limits]).success();
    arena.raptor(&["scale", &count]).success();
    arena
}

/// Waits until exactly `count` machines exist, all of them alive and each with one agent.
fn wait_for_exactly(arena: &Arena, count: usize, what: &str) -> BTreeSet<String> {
    wait_until(MENDED, what, || {
        let (there, alive, agents) = (arena.folders(), arena.alive(), arena.agents());
        // Two halves may each make what they lack, and no more.
        assert!(agents <= 2 * count, "{what}: {agents} agents of {there:?}");
        let is_so = there.len() == count && there == alive && agents == count;
        if is_so { Ok(there) } else { Err(format!("{there:?}, alive {alive:?}, {agents} agents")) }
    })
}

/// Between one and `most` of them.
fn some(random: &mut SmallRng, of: &BTreeSet<String>, most: usize) -> BTreeSet<String> {
    let mut names: Vec<&String> = of.iter().collect();
    let count = random.random_range(1..=most);
    let mut drawn = BTreeSet::new();
    for _ in 0..count {
        drawn.insert(names.swap_remove(random.random_range(0..names.len())).clone());
    }
    drawn
}

fn strike(arena: &Arena, random: &mut SmallRng, fault: Fault, there: &BTreeSet<String>) {
    let moment = Duration::from_millis(random.random_range(2_000..8_000));
    match fault {
        Fault::Death => {
            for name in some(random, there, there.len() - 1) {
                arena.signal(&name, Signal::KILL);
            }
        }
        Fault::Crash => {
            for name in some(random, there, there.len()) {
                let both = arena.processes_of(&name);
                let agents = both.iter().filter(|process| process.command_line.ends_with("run"));
                agents.for_each(|agent| agent.signal(Signal::KILL));
            }
        }
        Fault::Cut => {
            arena.cut_off(&some(random, there, there.len() / 2));
            pass(moment);
            arena.mend();
        }
        Fault::Full => {
            arena.fill_disk();
            pass(moment / 2);
            arena.free_disk();
        }
        Fault::Hang => {
            let stopped = some(random, there, there.len() - 1);
            for name in &stopped {
                arena.signal(name, Signal::STOP);
            }
            pass(moment);
            for name in &stopped {
                arena.signal(name, Signal::CONT);
            }
        }
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn whatever_breaks_the_fleet_comes_back() {
    let (rounds, seed) = (number("RAPTOR_CHAOS_ROUNDS", ROUNDS), number("RAPTOR_CHAOS_SEED", 1));
    let mut random = SmallRng::seed_from_u64(seed);
    let arena = fleet_of(COUNT, r#"{"bury_after_ms": 1000, "settle_ms": 2000}"#);
    let mut there = wait_for_exactly(&arena, COUNT, "the fleet");
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let fault = match usize::try_from(round).ok().and_then(|round| FAULTS.get(round)) {
            Some(fault) => *fault,
            None => FAULTS[random.random_range(0..FAULTS.len())],
        };
        let what = format!("RAPTOR_CHAOS_SEED={seed}, round {round}: {fault:?}");
        // What everybody knows is never lost.
        let motto = format!("\"round {round}\"");
        arena.raptor(&["config", "set", "user.motto", &motto]).success();
        wait_for_motto(&arena, &there, &motto);
        strike(&arena, &mut random, fault, &there);
        let started = Instant::now();
        there = wait_for_exactly(&arena, COUNT, &what);
        slowest = slowest.max(started.elapsed());
        eprintln!("{what}: {COUNT} again after {:?}", started.elapsed());
        wait_for_motto(&arena, &there, &motto);
    }
    eprintln!("{rounds} rounds, the slowest {slowest:?}");
    arena.raptor(&["destroy", "--all", "--yes"]).success();
    assert_eq!(arena.folders(), BTreeSet::new());
}

fn wait_for_motto(arena: &Arena, there: &BTreeSet<String>, motto: &str) {
    for name in there {
        wait_until(MENDED, &format!("{motto} at {name}"), || {
            let asked = arena.raptor_at(name, &["config", "get", "user.motto"]);
            let run = asked.ok_or("no such machine")?.run();
            if run.stdout.trim_end() == motto { Ok(()) } else { Err(format!("{run:?}")) }
        });
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn who_hears_of_nobody_goes_and_looks_before_it_replaces_them() {
    let arena =
        fleet_of(3, r#"{"replace_after_ms": 10000, "brake_ms": 10000, "bury_after_ms": 1000}"#);
    let three = wait_for_exactly(&arena, 3, "the fleet");
    // Nothing passes between any two: each is alone, and all of them live.
    arena.cut_off(&three);
    for name in &three {
        let others: BTreeSet<String> = three.iter().filter(|it| *it != name).cloned().collect();
        wait_until(MENDED, &format!("the others failed as {name} sees it"), || {
            let failed = arena.members_at(name, "failed").unwrap_or_default();
            if failed == others { Ok(()) } else { Err(format!("{failed:?}")) }
        });
    }
    let first = three.first().unwrap();
    wait_until(MENDED, &format!("{first} has found that the others answer"), || {
        let run = arena.raptor_at(first, &["plan"]).ok_or("gone")?.run();
        let told = run.stdout.matches("answered when it was visited").count();
        if told == 2 { Ok(()) } else { Err(format!("{run:?}")) }
    });
    stays(Duration::from_secs(15), "nobody is replaced", || {
        let there = arena.folders();
        if there == three { Ok(()) } else { Err(format!("{there:?}")) }
    });
    arena.mend();
    assert_eq!(wait_for_exactly(&arena, 3, "the same three"), three);
}
