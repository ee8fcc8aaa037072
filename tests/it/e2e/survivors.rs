//! The last survivor: of N machines N-1 go, in whatever order, and the one that is left rebuilds.
//! What exists is read from the back-end's own folders and from `/proc`, not from raptor's word.

use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use super::fleet::{MENDED, cut_off};
use super::text;
use crate::support::sandbox::Sandbox;
use crate::support::wait::{stays, wait_until};

/// How soon the dead are cleared away here, and a surplus is.
const IMPATIENCE: &str = r#"{"bury_after_ms": 1000, "settle_ms": 2000}"#;

/// Those that live, as the first agent that answers sees it: the command line knows of no machine
/// that the members made.
fn alive(sandbox: &Sandbox) -> BTreeSet<String> {
    let told = sandbox.folders().into_iter().find_map(|name| {
        // Its folder may be cleared away between two looks.
        let socket = sandbox.socket(&name)?;
        let run = sandbox.raptor(["--connect", &socket, "members", "-o", "json"]).run();
        serde_json::from_str::<Vec<Value>>(&run.stdout).ok()
    });
    let members = told.unwrap_or_default();
    let living = members.iter().filter(|member| member["status"] == "alive");
    living.map(|member| text(&member["name"])).collect()
}

/// Waits until exactly `count` machines exist, all of them alive and each with one agent.
fn wait_for_exactly(sandbox: &Sandbox, count: usize) -> BTreeSet<String> {
    wait_until(MENDED, &format!("exactly {count}"), || {
        let (there, alive) = (sandbox.folders(), alive(sandbox));
        let agents = sandbox.processes_with(&["agent run"]).len();
        let is_so = there.len() == count && there == alive && agents == count;
        if is_so { Ok(there) } else { Err(format!("{there:?}, alive {alive:?}, {agents} agents")) }
    })
}

fn fleet_of(count: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.spawn(count);
    sandbox.raptor(["config", "set", "user.motto", "\"kept\""]).success();
    sandbox.raptor(["config", "set", "fleet", IMPATIENCE]).success();
    sandbox.raptor(["scale", &count.to_string()]).success();
    wait_for_exactly(&sandbox, count);
    sandbox
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn whoever_is_left_rebuilds_whatever_the_order() {
    const COUNT: usize = 4;
    let sandbox = fleet_of(COUNT);
    // The founder dies first, then last of those that die, then whoever came after it.
    for order in [[0, 1, 2, 3], [3, 2, 0, 1], [1, 3, 2, 0], [2, 0, 3, 1]] {
        let before: Vec<String> = wait_for_exactly(&sandbox, COUNT).into_iter().collect();
        let (survivor, victims) = order.split_last().unwrap();
        let started = Instant::now();
        for victim in victims {
            cut_off(&sandbox, &before[*victim]);
        }
        let survivor = &before[*survivor];
        let after = wait_until(MENDED, &format!("rebuilt by {survivor}"), || {
            let alive = alive(&sandbox);
            let old = before.iter().filter(|name| alive.contains(*name)).count();
            if alive.len() == COUNT && old == 1 { Ok(alive) } else { Err(format!("{alive:?}")) }
        });
        eprintln!("{survivor} rebuilt {COUNT} after {:?}", started.elapsed());
        assert!(after.contains(survivor), "{after:?}");
    }
    let four = wait_for_exactly(&sandbox, COUNT);
    for name in four {
        let told = sandbox.raptor_at(&name, ["config", "get", "user.motto"]).success();
        told.stdout_is("\"kept\"\n");
    }
}

/// Waits until a machine that is none of `known` has come as far as having `file` in its folder.
fn wait_for_newcomer(sandbox: &Sandbox, known: &BTreeSet<String>, file: &str) -> String {
    wait_until(MENDED, &format!("a new machine with {file}"), || {
        let has_it = |name: &String| {
            sandbox.machine_if_any(name).is_some_and(|home| home.join(file).exists())
        };
        let new = sandbox.folders().into_iter().find(|name| !known.contains(name) && has_it(name));
        new.ok_or("none")
    })
}

/// A machine's maker and all others but one die while it is being made.
#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn whoever_is_left_rebuilds_also_when_they_die_during_a_spawn() {
    const COUNT: usize = 4;
    let sandbox = fleet_of(COUNT);
    // It has a key; it was told of its cluster and starts.
    let moments = ["agent/identity.key", "agent/agent.log"];
    for (round, moment) in moments.iter().enumerate() {
        let before = wait_for_exactly(&sandbox, COUNT);
        let order: Vec<&String> = before.iter().cycle().skip(round).take(COUNT).collect();
        let (survivor, victims) = order.split_last().unwrap();
        cut_off(&sandbox, victims[0]);
        let newcomer = wait_for_newcomer(&sandbox, &before, moment);
        for victim in &victims[1..] {
            cut_off(&sandbox, victim);
        }
        let started = Instant::now();
        let after = wait_for_exactly(&sandbox, COUNT);
        let joined = if after.contains(&newcomer) { "joined" } else { "was made anew" };
        eprintln!("{moment}: {COUNT} after {:?}, {newcomer} {joined}", started.elapsed());
        assert!(after.contains(*survivor), "{survivor} survived: {after:?}");
        let old = before.intersection(&after).count();
        assert_eq!(old, 1, "the dead are no members any more: {before:?} became {after:?}");
    }
    for name in wait_for_exactly(&sandbox, COUNT) {
        let told = sandbox.raptor_at(&name, ["config", "get", "user.motto"]).success();
        told.stdout_is("\"kept\"\n");
    }
}

/// The founder dies while it makes all the others: most of them were told of nobody else, and would
/// be alone for ever, did those that came further not find them.
#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn newcomers_that_know_only_the_dead_are_found_by_those_that_know_more() {
    const COUNT: usize = 4;
    let sandbox = Sandbox::new();
    sandbox.spawn(1);
    sandbox.raptor(["config", "set", "user.motto", "\"kept\""]).success();
    sandbox.raptor(["config", "set", "fleet", IMPATIENCE]).success();
    sandbox.raptor(["scale", &COUNT.to_string()]).success();
    let founder = BTreeSet::from(["local-1".to_owned()]);
    wait_until(MENDED, "a newcomer that has the document", || {
        let there = sandbox.folders();
        let has_it = |name: &&String| {
            let Some(socket) = sandbox.socket(name) else { return false };
            let run = sandbox.raptor(["--connect", &socket, "config", "get", "user.motto"]).run();
            run.stdout == "\"kept\"\n"
        };
        there.difference(&founder).find(has_it).cloned().ok_or("none")
    });
    cut_off(&sandbox, "local-1");
    let started = Instant::now();
    let after = wait_for_exactly(&sandbox, COUNT);
    eprintln!("{after:?} without the founder after {:?}", started.elapsed());
    assert!(!after.contains("local-1"), "{after:?}");
    for name in after {
        let told = sandbox.raptor_at(&name, ["config", "get", "user.motto"]).success();
        told.stdout_is("\"kept\"\n");
    }
}

/// A machine that has just become a member ends before most have heard of it.
#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_newcomer_that_dies_at_once_is_replaced() {
    let sandbox = fleet_of(3);
    // As soon as its agent runs, and as soon as a member calls it alive.
    for (more, is_member) in [(1, false), (2, true)] {
        let before = wait_for_exactly(&sandbox, 2 + more);
        let count = 3 + more;
        sandbox.raptor(["scale", &count.to_string()]).success();
        let newcomer = wait_until(MENDED, "a newcomer", || {
            let there = if is_member { alive(&sandbox) } else { sandbox.folders() };
            let new = there.into_iter().find(|name| !before.contains(name));
            let runs = |name: &String| {
                let runs = |verb: &&str| sandbox.agent(name, verb).is_some();
                sandbox.machine_if_any(name).is_some() && ["supervise", "run"].iter().all(runs)
            };
            new.filter(runs).ok_or("none")
        });
        cut_off(&sandbox, &newcomer);
        let started = Instant::now();
        let after = wait_for_exactly(&sandbox, count);
        eprintln!("{newcomer} replaced after {:?}", started.elapsed());
        assert!(before.is_subset(&after), "{before:?} became {after:?}");
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn what_a_person_destroyed_stays_destroyed() {
    let sandbox = fleet_of(3);
    let first = wait_for_exactly(&sandbox, 3);
    sandbox.raptor(["destroy", "local-2", "--yes"]).success();
    // The rule gets another one, and never that one.
    let second = wait_for_exactly(&sandbox, 3);
    assert_eq!(first.difference(&second).collect::<Vec<_>>(), ["local-2"]);
    let home = sandbox.machine("local-1");
    let remains = wait_until(MENDED, "what remains of it in the export", || {
        let text = std::fs::read(home.join("agent/mutable_config.json")).unwrap_or_default();
        let document: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let retired = document["retired"].as_object().cloned().unwrap_or_default();
        let found = retired.into_iter().find(|(_, tombstone)| tombstone["name"] == "local-2");
        found.map(|(_, tombstone)| tombstone).ok_or("none")
    });
    // It still counts by the time when it was asked for.
    assert!(remains["created_at"].as_str() < remains["at"].as_str(), "{remains}");
    sandbox.raptor(["scale", "2"]).success();
    let third = wait_for_exactly(&sandbox, 2);
    stays(Duration::from_secs(10), "nobody comes back, nobody else comes", || {
        let there = sandbox.folders();
        if there == third { Ok(()) } else { Err(format!("{there:?}")) }
    });
    // All of it: nobody is left who could undo that, and nobody does while it goes on.
    sandbox.raptor(["destroy", "--all", "--yes"]).success();
    assert_eq!(sandbox.folders(), BTreeSet::new());
    sandbox.wait_for_silence();
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn who_sees_nobody_asks_the_back_end_before_it_acts() {
    let sandbox = fleet_of(3);
    let three = wait_for_exactly(&sandbox, 3);
    // They hang: no member hears of them, and the back-end says that they run.
    let stopped: Vec<_> = ["local-1", "local-3"]
        .into_iter()
        .flat_map(|name| ["supervise", "run"].map(|verb| sandbox.agent(name, verb).unwrap()))
        .collect();
    for process in &stopped {
        process.signal(Signal::STOP);
    }
    wait_until(MENDED, "local-2 sees nobody, and says why it waits", || {
        let plan = sandbox.raptor_at("local-2", ["plan"]).success().stdout;
        let status = sandbox.raptor_at("local-2", ["status"]).success().stdout;
        let told = |text: &str| text.contains("this machine may be the one that is cut off");
        if told(&plan) && told(&status) { Ok(()) } else { Err(plan) }
    });
    stays(Duration::from_secs(15), "nobody is replaced", || {
        let there = sandbox.folders();
        if there == three { Ok(()) } else { Err(format!("{there:?}")) }
    });
    for process in &stopped {
        process.signal(Signal::CONT);
    }
    wait_until(MENDED, "all three again", || {
        let alive = alive(&sandbox);
        if alive == three { Ok(()) } else { Err(format!("{alive:?}")) }
    });
    assert_eq!(sandbox.folders(), three);
    // Those that stand still are replaced at once: the back-end says so.
    cut_off(&sandbox, "local-1");
    cut_off(&sandbox, "local-3");
    wait_for_exactly(&sandbox, 3);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_cluster_for_a_while_ends_by_itself() {
    let sandbox = Sandbox::new();
    sandbox.raptor(["spawn", "--count", "3", "--ttl", "20s"]).success();
    wait_until(MENDED, "its end is announced", || {
        let run = sandbox.raptor(["status"]).success();
        let is_told = run.stdout.contains("local-2 is destroyed at");
        if is_told { Ok(()) } else { Err(run.stdout) }
    });
    wait_until(MENDED, "no machine left", || {
        let there = sandbox.folders();
        if there.is_empty() { Ok(()) } else { Err(format!("{there:?}")) }
    });
    sandbox.wait_for_silence();
    sandbox.raptor(["members"]).run().stderr_contains("there is no cluster");
}
