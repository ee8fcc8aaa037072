//! Ten local members: how soon a `config set` is readable on all (p99 under 1 s), how soon a killed
//! one is called failed by all the others (median under 6 s), and, with `-- --long`, whether ten
//! minutes with every core busy make anybody call a living member failed.
//!
//! The floor of the first is one `config get`; of the second, a look at every other's table.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use support::process::{Load, kill, processor_time};
use support::user::{LocalMachine, User};
use support::{Aim, Samples, in_parallel, is_asked, print_beside, run, time, until, verdict};

const MEMBERS: usize = 10;
const WRITES: usize = 120;
const DEATHS: usize = 9;
const LIMIT: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(600);

fn main() {
    let user = User::new();
    let machines = user.spawn_local(MEMBERS);
    if is_asked("--long") {
        return endurance(&machines);
    }
    propagation(&user, &machines);
    detection(&machines);
}

/// From the start of the command until all ten give the value back.
fn propagation(user: &User, machines: &[LocalMachine]) {
    let mut writes = 0;
    let samples = Samples::of(WRITES, || {
        writes += 1;
        let value = json!(4_000 + writes);
        time(|| {
            run(&mut user.raptor(&["config", "set", "mesh.link_timeout_ms", &value.to_string()]));
            in_parallel(machines, |machine| {
                until(LIMIT, "readable", || {
                    let document = machine.api().get("/v1/document").unwrap_or_default();
                    document["config"]["mesh"]["link_timeout_ms"] == value
                });
            });
        })
    });
    let floor = Samples::of(WRITES, || {
        time(|| drop(run(&mut user.raptor(&["config", "get", "mesh.link_timeout_ms"]))))
    });
    let aim = Aim::P99(Duration::from_secs(1));
    print_beside("config set, readable on 10", &samples, ("config get", &floor), aim);
}

/// Another member dies each time.
fn detection(machines: &[LocalMachine]) {
    let mut round = 0;
    let deaths = Samples::of(DEATHS, || {
        let victim = &machines[round % MEMBERS];
        round += 1;
        let witnesses: Vec<_> =
            machines.iter().filter(|machine| machine.name() != victim.name()).collect();
        let processes = victim.processes();
        assert_eq!(processes.len(), 2, "supervisor and agent of {}", victim.name());
        let took = time(|| {
            kill(&processes);
            in_parallel(&witnesses, |witness| {
                until(LIMIT, "called failed", || {
                    witness.api().status_of(victim.name()).as_deref() == Some("failed")
                });
            });
        });
        victim.restart();
        in_parallel(machines, |machine| {
            until(LIMIT, "alive again on all", || machine.api().alive() == MEMBERS);
        });
        took
    });
    let floor = Samples::of(DEATHS, || {
        time(|| in_parallel(machines, |machine| assert!(machine.api().alive() > 0)))
    });
    let aim = Aim::Median(Duration::from_secs(6));
    print_beside("kill -9 to failed on 9", &deaths, ("every member's table", &floor), aim);
}

/// The logs tell every change of a status, also those that nobody looked at.
fn endurance(machines: &[LocalMachine]) {
    let before: Vec<usize> = machines.iter().map(|machine| machine.log().len()).collect();
    let agents: Vec<u32> = machines.iter().map(LocalMachine::agent).collect();
    let started = Instant::now();
    let load = Load::on_every_core();
    while started.elapsed() < LONG {
        thread::sleep(Duration::from_secs(1));
    }
    drop(load);
    let (mut suspected, mut failed) = (0, 0);
    for (machine, before) in machines.iter().zip(before) {
        assert_eq!(machine.api().alive(), MEMBERS, "as {} sees it", machine.name());
        let log = machine.log();
        let told = log.get(before..).unwrap_or_default();
        suspected += told.lines().filter(|line| line.contains("status=suspect")).count();
        failed += told.lines().filter(|line| line.contains("status=failed")).count();
    }
    let now: Vec<u32> = machines.iter().map(LocalMachine::agent).collect();
    assert_eq!(agents, now, "an agent was started anew");
    let busy: Duration = now.iter().map(|pid| processor_time(*pid)).sum();
    println!(
        "{:?} with every core busy: called failed {failed} times, suspected {suspected}; the ten \
         agents took {busy:.1?} of processor   {}",
        LONG,
        verdict(failed == 0, "never failed")
    );
}
