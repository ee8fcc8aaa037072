//! Rules, and members that keep them with nobody's help.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use super::text;
use crate::support::sandbox::Sandbox;
use crate::support::wait::wait_until;

/// How long the members may take to mend what was broken.
pub(super) const MENDED: Duration = Duration::from_secs(60);

/// Those that live.
fn alive(sandbox: &Sandbox) -> BTreeSet<String> {
    let run = sandbox.raptor(["members", "-o", "json"]).run();
    let Ok(members) = serde_json::from_str::<Vec<Value>>(&run.stdout) else {
        return BTreeSet::new();
    };
    let living = members.iter().filter(|member| member["status"] == "alive");
    living.map(|member| text(&member["name"])).collect()
}

fn wait_for(sandbox: &Sandbox, count: usize) -> BTreeSet<String> {
    wait_until(MENDED, &format!("{count} alive"), || {
        let alive = alive(sandbox);
        if alive.len() == count { Ok(alive) } else { Err(format!("{alive:?}")) }
    })
}

/// Ends everything of a machine at once, as a power cut does.
pub(super) fn cut_off(sandbox: &Sandbox, name: &str) {
    for verb in ["supervise", "run"] {
        sandbox.agent(name, verb).unwrap().kill();
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_fleet_of_five_loses_its_founder_and_is_five_again() {
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    sandbox.raptor(["scale", "5"]).success();
    let five = wait_for(&sandbox, 5);
    sandbox.raptor(["plan"]).success().stdout_contains("rule default: 5 of 5 to 5 live");

    cut_off(&sandbox, "local-1");
    let started = Instant::now();
    let again = wait_until(MENDED, "five alive without the founder", || {
        let alive = alive(&sandbox);
        let is_mended = alive.len() == 5 && !alive.contains("local-1");
        if is_mended { Ok(alive) } else { Err(format!("{alive:?}")) }
    });
    eprintln!("replaced after {:?}", started.elapsed());
    assert_eq!(again.intersection(&five).count(), 4, "{five:?} became {again:?}");

    sandbox.raptor(["scale", "3"]).success();
    let three = wait_for(&sandbox, 3);
    assert!(three.contains("local-2"), "the youngest go: {three:?}");
    sandbox.raptor(["destroy", "--all", "--yes"]).success();
    sandbox.wait_for_silence();
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn the_last_survivor_rebuilds_the_fleet() {
    let sandbox = Sandbox::new();
    sandbox.spawn(4);
    sandbox.raptor(["config", "set", "user.motto", "\"kept\""]).success();
    sandbox.raptor(["scale", "4"]).success();
    for name in ["local-1", "local-2", "local-4"] {
        cut_off(&sandbox, name);
    }
    let started = Instant::now();
    let alive = wait_until(MENDED, "four alive again", || {
        let alive = alive(&sandbox);
        let gone = ["local-1", "local-2", "local-4"].iter().any(|name| alive.contains(*name));
        if alive.len() == 4 && !gone { Ok(alive) } else { Err(format!("{alive:?}")) }
    });
    eprintln!("rebuilt after {:?}", started.elapsed());
    assert!(alive.contains("local-3"));
    sandbox.raptor(["config", "get", "user.motto"]).success().stdout_is("\"kept\"\n");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_back_end_that_does_not_answer_keeps_no_rule_waiting() {
    let sandbox = Sandbox::new();
    let plugin = sandbox.path().join("raptor-provider-slow");
    let asked = sandbox.path().join("asked");
    let script = format!("#!/bin/sh\n: > '{}'\nexec sleep 300\n", asked.display());
    fs::write(&plugin, script).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.spawn(1);
    let slow = json!({"driver": "plugin", "folder": sandbox.path(), "timeout_ms": 240_000});
    sandbox.raptor(["config", "set", "compute_types.slow", &slow.to_string()]).success();
    sandbox.raptor(["scale", "1"]).success();
    wait_until(MENDED, "the back-end is asked", || asked.exists().then_some(()).ok_or("not yet"));
    sandbox.raptor(["plan"]).success().stdout_contains("rule default: 1 of 1 to 1 live");
    sandbox.raptor(["scale", "2"]).success();
    wait_for(&sandbox, 2);
    sandbox.raptor(["destroy", "--all", "--yes"]).success();
    sandbox.wait_for_silence();
}
