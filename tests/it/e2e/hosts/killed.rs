//! `kill -9` of whoever makes a machine, at each step of it.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::{WORK_LIMIT, configure, text};
use crate::e2e::leaving::{make_old, times_of};
use crate::support::docker::docker;
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

/// What is told when a step begins, in the order of the steps.
const STEPS: [&str; 6] = [
    "making it on docker",
    "logging in",
    "copying raptor",
    "agent init",
    "being admitted",
    "waiting for the members to see it",
];

/// What there is of the machine `made` at the back-end, and among the members, each as `made STATUS`.
pub(super) type Seen = (BTreeSet<String>, BTreeSet<String>);

/// The member that was to be made.
pub(super) fn made(sandbox: &Sandbox) -> BTreeSet<String> {
    let members = sandbox.members();
    let members = members.iter().filter(|member| member["name"] == "made");
    members.map(|member| format!("{} {}", text(&member["name"]), text(&member["status"]))).collect()
}

/// Containers of the cluster, and the member that was to be made in one.
fn there(sandbox: &Sandbox) -> Seen {
    let status = sandbox.raptor(["status", "-o", "json"]).success().stdout_json();
    let filter = format!("label=raptor.cluster={}", text(&status["cluster_id"]));
    let format = "{{.Label \"raptor.name\"}}";
    let listed = docker(&["ps", "--all", "--filter", &filter, "--format", format]);
    let containers = listed.lines().map(|name| format!("{name} alive"));
    (containers.collect(), made(sandbox))
}

/// Starts to make one machine, and kills whoever does when this is told.
pub(super) fn kill_spawn_at(sandbox: &Sandbox, compute_type: &str, step: &str) {
    let words = ["spawn", "--compute-type", compute_type, "--name", "made"];
    kill_at(sandbox, &words, step, CONVERGENCE_LIMIT);
}

/// Starts a command, and kills it when this is told.
pub(super) fn kill_at(sandbox: &Sandbox, words: &[&str], step: &str, limit: Duration) {
    let told = sandbox.path().join("told");
    fs::write(&told, "").unwrap();
    let script = "told=$1; shift; exec \"$0\" \"$@\" 2>\"$told\"";
    let running = sandbox
        .program("/bin/sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_raptor")])
        .arg(&told)
        .args(words)
        .limit(WORK_LIMIT)
        .start();
    wait_until(limit, step, || {
        let text = fs::read_to_string(&told).unwrap();
        if text.contains(step) { Ok(()) } else { Err(text) }
    });
    running.signal(Signal::KILL);
    running.finish(CONVERGENCE_LIMIT).status(-9);
}

/// Waits until no ssh runs, and what is left of a machine whose maker was killed is whole or gone.
pub(super) fn wait_until_settled(sandbox: &Sandbox, step: &str, see: impl Fn() -> Seen) {
    wait_until(Duration::from_secs(10), "no ssh left running", || {
        let left = sandbox.processes_with(&["ssh", "-M"]);
        if left.is_empty() { Ok(()) } else { Err(format!("{step}: {left:?}")) }
    });
    // The back-end, and the agent, may still be carrying out what they were asked for last: what is
    // young then is old in the next round.
    wait_until(CONVERGENCE_LIMIT, "members and machines that agree", || {
        let seen = see();
        let times = times_of(sandbox, "made").unwrap_or_default();
        // A key that was put out is remembered; a wish that was withdrawn is not.
        let is_wished = times.iter().any(|path| path.starts_with("machines."));
        if seen.0 == seen.1 && is_wished != seen.0.is_empty() {
            return Ok(());
        }
        if !times.is_empty() {
            make_old(sandbox, "local-1", &times);
        }
        sandbox.raptor(["prune", "--yes"]).limit(WORK_LIMIT).success();
        Err(format!("{step}: {seen:?}"))
    });
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_spawn_that_was_killed_at_any_step_leaves_a_member_or_nothing() {
    let sandbox = Sandbox::new();
    configure(&sandbox, &json!({}));
    sandbox.destroys_on_drop();
    sandbox.spawn(1);
    for step in STEPS {
        kill_spawn_at(&sandbox, "docker", step);
        wait_until_settled(&sandbox, step, || there(&sandbox));
        if !there(&sandbox).0.is_empty() {
            sandbox.raptor(["destroy", "made", "--yes"]).limit(WORK_LIMIT).success();
        }
        let (containers, _) = there(&sandbox);
        assert!(containers.is_empty(), "{step}: {containers:?}");
    }
    sandbox.raptor(["destroy", "--all", "--yes"]).limit(WORK_LIMIT).success();
    sandbox.wait_for_silence();
}
