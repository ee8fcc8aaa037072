//! A fleet of containers in which one thing after the other breaks. What exists is read from
//! `docker ps`, not from raptor's word.
//!
//! `RAPTOR_CHAOS_ROUNDS=50` makes it long, `RAPTOR_CHAOS_SEED=7` draws other moments and victims.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::survivors::{container, containers, fleet_of, kill};
use super::text;
use crate::support::docker::{docker, try_docker};
use crate::support::sandbox::Sandbox;
use crate::support::wait::{pass, wait_until};

/// How long the members may take to mend what was broken.
const MENDED: Duration = Duration::from_secs(150);

/// Members of the fleet in a test run, and in a long one.
const COUNT: usize = 3;
const COUNT_LONG: usize = 5;

/// Rounds of a test run.
const ROUNDS: u64 = 2;

/// What is broken in one round.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Nobody can log in to some, and others die: who is left has to do without the former.
    SshLoss,
    /// There is no room for the state of some.
    Full,
    /// Some, or all but one, die for good.
    Death,
    /// Containers are stopped as an engine does it.
    Stop,
    /// Some are taken off the network for a while.
    Cut,
    /// Agents die; their supervisors start them again.
    Crash,
}

const FAULTS: [Fault; 6] =
    [Fault::SshLoss, Fault::Full, Fault::Death, Fault::Stop, Fault::Cut, Fault::Crash];

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Between one and `most` of them, in no order.
fn some(random: &mut SmallRng, of: &BTreeSet<String>, most: usize) -> Vec<String> {
    let mut names: Vec<String> = of.iter().cloned().collect();
    let count = random.random_range(1..=most);
    (0..count).map(|_| names.swap_remove(random.random_range(0..names.len()))).collect()
}

/// Runs a shell text in containers; one that is gone by then is passed over.
fn each(cluster: &str, names: &[String], text: &str) {
    for name in names {
        let _gone = try_docker(&["exec", &container(cluster, name), "sh", "-c", text]);
    }
}

const KILL_AGENT: &str = "for one in /proc/[0-9]*; do \
    if tr '\\0' ' ' <$one/cmdline 2>/dev/null | grep -q 'agent ru[n]'; then kill -9 ${one#/proc/}; fi; done";

fn strike(cluster: &str, random: &mut SmallRng, fault: Fault, there: &BTreeSet<String>) {
    let moment = Duration::from_millis(random.random_range(2_000..8_000));
    match fault {
        Fault::SshLoss => {
            let shut = some(random, there, there.len() - 2);
            each(cluster, &shut, "mv /root/.ssh /root/.ssh-away");
            let rest = there.iter().filter(|name| !shut.contains(name)).cloned().collect();
            let dead = some(random, &rest, 1);
            kill(cluster, &dead.iter().collect::<Vec<_>>());
            pass(moment);
            each(cluster, &shut, "rm -rf /root/.ssh; mv /root/.ssh-away /root/.ssh");
        }
        Fault::Full => {
            let full = some(random, there, there.len() - 1);
            each(cluster, &full, "cat /dev/zero >/var/lib/raptor/filler 2>/dev/null");
            pass(moment);
            each(cluster, &full, "rm -f /var/lib/raptor/filler");
        }
        Fault::Death => {
            let dead = some(random, there, there.len() - 1);
            kill(cluster, &dead.iter().collect::<Vec<_>>());
        }
        Fault::Stop => {
            let stopped = some(random, there, there.len() - 1);
            let mut words = vec!["stop".to_owned(), "--time".to_owned(), "1".to_owned()];
            words.extend(stopped.iter().map(|name| container(cluster, name)));
            docker(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
        Fault::Cut => {
            let cut = some(random, there, there.len() / 2);
            let ids: Vec<String> = cut.iter().map(|name| container(cluster, name)).collect();
            for id in &ids {
                docker(&["network", "disconnect", "bridge", id]);
            }
            pass(moment);
            for id in &ids {
                let _gone = try_docker(&["network", "connect", "bridge", id]);
            }
        }
        Fault::Crash => each(cluster, &some(random, there, there.len()), KILL_AGENT),
    }
}

/// Waits until exactly `count` containers exist and run, and are the members that live.
fn wait_for_exactly(
    sandbox: &Sandbox,
    cluster: &str,
    count: usize,
    what: &str,
) -> BTreeSet<String> {
    wait_until(MENDED, what, || {
        let (running, others) = containers(cluster);
        // Two halves may each make what they lack, and no more.
        assert!(running.len() <= 2 * count, "{what}: {running:?}");
        let run = sandbox.raptor(["members", "-o", "json"]).run();
        let members = serde_json::from_str::<Vec<serde_json::Value>>(&run.stdout);
        let members = members.unwrap_or_default();
        let alive = members.iter().filter(|member| member["status"] == "alive");
        let alive: BTreeSet<String> = alive.map(|member| text(&member["name"])).collect();
        let is_so = running.len() == count && others.is_empty() && alive == running;
        let is_so = is_so && members.len() == count;
        if is_so {
            Ok(running)
        } else {
            Err(format!("{running:?} run, {others:?} do not, {alive:?} live"))
        }
    })
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn whatever_breaks_among_containers_the_fleet_comes_back() {
    let (rounds, seed) = (number("RAPTOR_CHAOS_ROUNDS", ROUNDS), number("RAPTOR_CHAOS_SEED", 1));
    let mut random = SmallRng::seed_from_u64(seed);
    let count = if rounds > ROUNDS { COUNT_LONG } else { COUNT };
    let (sandbox, cluster) = fleet_of(count, &["--tmpfs", "/var/lib/raptor:size=32m"]);
    let mut there = wait_for_exactly(&sandbox, &cluster, count, "the fleet");
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let fault = match usize::try_from(round).ok().and_then(|round| FAULTS.get(round)) {
            Some(fault) => *fault,
            None => FAULTS[random.random_range(0..FAULTS.len())],
        };
        let what = format!("RAPTOR_CHAOS_SEED={seed}, round {round}: {fault:?}");
        strike(&cluster, &mut random, fault, &there);
        let started = Instant::now();
        there = wait_for_exactly(&sandbox, &cluster, count, &what);
        slowest = slowest.max(started.elapsed());
        eprintln!("{what}: {count} again after {:?}", started.elapsed());
        sandbox.raptor(["config", "get", "user.motto"]).success().stdout_is("\"kept\"\n");
    }
    eprintln!("{rounds} rounds, the slowest {slowest:?}");
    sandbox.raptor(["destroy", "--all", "--yes"]).limit(super::WORK_LIMIT).success();
    let (running, others) = containers(&cluster);
    assert!(running.is_empty() && others.is_empty(), "{running:?} {others:?}");
}
