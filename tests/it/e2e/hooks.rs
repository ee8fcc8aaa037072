//! Commands for when something has happened.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::text;
use crate::support::sandbox::Sandbox;
use crate::support::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(30);

/// What hooks have written so far: one JSON value a line.
fn written(sandbox: &Sandbox) -> Vec<Value> {
    let text = fs::read_to_string(sandbox.path().join("told")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn hook(sandbox: &Sandbox, event: &str, predicate: &str) -> String {
    let command = format!("cat >>'{}'", sandbox.path().join("told").display());
    json!({"event": event, "predicate": predicate, "command": command}).to_string()
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn hooks_hear_of_machines_that_come_and_go() {
    let sandbox = Sandbox::new();
    sandbox.spawn(1);
    for (name, event, predicate) in [
        ("hears", "cluster_change", ""),
        ("deaf", "cluster_change", "false"),
        ("made", "after_assimilate", "grep -q local-2"),
    ] {
        let path = format!("hooks.{name}");
        sandbox.raptor(["config", "set", &path, &hook(&sandbox, event, predicate)]).success();
    }
    sandbox.raptor(["spawn"]).success();
    // The one that was there hears of the other; who spawned hears that it is a member.
    wait_until(LIMIT, "both hooks", || {
        let told = written(&sandbox);
        let made: Vec<&Value> =
            told.iter().filter(|told| told["event"] == "after_assimilate").collect();
        let heard = told.iter().any(|told| {
            let members = told["members"].as_array().map_or(0, Vec::len);
            told["event"] == "cluster_change" && members == 2
        });
        let is_so = heard && made.len() == 1 && made[0]["machine"]["name"] == "local-2";
        if is_so { Ok(()) } else { Err(format!("{told:?}")) }
    });
    // What it is, how it is reached, and who else is there.
    let told = written(&sandbox).into_iter().find(|told| told["event"] == "after_assimilate");
    let told = told.unwrap();
    let member = sandbox.members().into_iter().find(|it| it["name"] == "local-2").unwrap();
    let machine = &told["machine"];
    assert_eq!((&machine["node"], &machine["address"]), (&member["id"], &member["address"]));
    assert_eq!(
        (&machine["compute_type"], &machine["server_type"]),
        (&json!("local"), &json!("headless"))
    );
    assert_eq!(machine["access"]["kind"], "local");
    assert_eq!(told["members"].as_array().map(Vec::len), Some(2));
    let before = written(&sandbox).len();
    sandbox.raptor(["destroy", "local-2", "--yes"]).success();
    wait_until(LIMIT, "it hears of the end", || {
        let told = written(&sandbox);
        let last = told.last().map(|told| told["members"].clone()).unwrap_or_default();
        let alone = last.as_array().is_some_and(|members| members.len() == 1);
        if told.len() > before && alone { Ok(()) } else { Err(format!("{told:?}")) }
    });
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_hook_is_run_by_hand() {
    let sandbox = Sandbox::new();
    let hooks = json!({"version": 1, "hooks": {
        "echo": {"event": "after_mesh", "command": "cat"},
        "never": {"event": "after_slave", "predicate": "exit 1", "command": "echo never"},
        "bad": {"event": "after_slave", "command": "exit 4"},
    }});
    fs::write(sandbox.home().join("mutable_config.json"), hooks.to_string()).unwrap();
    let run = sandbox.raptor(["hook", "after_mesh"]).stdin("{\"a\":1}").run();
    run.status(0).stdout_is("{\"a\":1}\necho: done\n");
    let run = sandbox.raptor(["hook", "after_slave", "-o", "json"]).run().status(3);
    let runs = run.stdout_json();
    assert_eq!(
        (text(&runs[0]["hook"]), text(&runs[0]["outcome"])),
        ("bad".into(), "failed".into())
    );
    assert_eq!(text(&runs[0]["why"]), "it ended with exit status 4");
    assert_eq!(
        (text(&runs[1]["hook"]), text(&runs[1]["outcome"])),
        ("never".into(), "skipped".into())
    );
    let run = sandbox.raptor(["hook", "after_mash"]).run().status(1);
    run.stderr_contains("no hook and no event named after_mash").stderr_contains("after_mesh");
}
