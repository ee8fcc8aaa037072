//! A cluster on this computer alone: three agents, each a process group with a home of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

/// A cluster of three, and its members.
fn spawn_three(sandbox: &Sandbox) -> Vec<Value> {
    sandbox.raptor(["spawn", "--count", "3"]).limit(Duration::from_secs(120)).success();
    sandbox.wait_for_alive(3)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Waits until every member answers `config get PATH` with `expected`.
fn wait_for_everywhere(sandbox: &Sandbox, members: &[Value], path: &str, expected: &Value) {
    for member in members {
        let id = text(&member["id"]);
        let wanted = format!("{path} = {expected} on {id}");
        wait_until(CONVERGENCE_LIMIT, &wanted, || {
            let homes = agent_homes(sandbox, member);
            let run = sandbox
                .raptor(["--connect", &format!("unix:{homes}/agent/agent.sock")])
                .args(["config", "get", path, "-o", "json"])
                .run();
            match serde_json::from_str::<Value>(&run.stdout) {
                Ok(value) if value == *expected => Ok(()),
                _ => Err(format!("{run:?}")),
            }
        });
    }
}

/// The home folder of a local member: `machines/CLUSTER/NAME` below the user's.
fn agent_homes(sandbox: &Sandbox, member: &Value) -> String {
    let (cluster, name) = (text(&member["dc"]), text(&member["name"]));
    sandbox.home().join("machines").join(cluster).join(name).display().to_string()
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn three_machines_from_nothing() {
    let sandbox = Sandbox::new();
    let members = spawn_three(&sandbox);
    let distinct = |key: &str| {
        members.iter().map(|member| text(&member[key])).collect::<BTreeSet<String>>().len()
    };
    for key in ["id", "name", "address"] {
        assert_eq!(distinct(key), 3, "{key} of {members:?}");
    }
    for member in &members {
        assert_eq!(member["compute_type"], "local");
        assert_eq!(member["type"], "headless");
        assert_eq!(member["dc"], "default");
        assert_eq!(member["build"], env!("CARGO_PKG_VERSION"));
        assert!(text(&member["address"]).starts_with("fc"), "{member}");
        assert!(text(&member["joined_at"]).ends_with('Z'), "{member}");
    }
    let table = sandbox.raptor(["members"]).success();
    let head: Vec<&str> = table.stdout.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC"]);
    assert_eq!(table.stdout.lines().count(), 4, "{}", table.stdout);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn exec_prints_as_consul_does() {
    let sandbox = Sandbox::new();
    let members = spawn_three(&sandbox);
    let names: BTreeSet<String> = members.iter().map(|member| text(&member["name"])).collect();

    let run = sandbox.raptor(["exec", "--", "echo", "hello world"]).success();
    let mut lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.pop(), Some("3 / 3 node(s) completed / acknowledged"), "{run:?}");
    let expected: BTreeSet<String> =
        names.iter().map(|name| format!("    {name}: hello world")).collect();
    assert_eq!(lines.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), expected);

    let run = sandbox.raptor(["exec", "-o", "json", "--", "sh", "-c", "echo bad >&2; exit 7"]);
    let run = run.run().status(3);
    let answers = run.stdout_json_lines();
    assert_eq!(answers.len(), 3, "{run:?}");
    for answer in &answers {
        assert!(names.contains(&text(&answer["node"])), "{answer}");
        assert_eq!(answer["exit_status"], 7, "{answer}");
        assert_eq!(answer["stderr"], "bad\n", "{answer}");
        assert_eq!(answer["stdout"], "", "{answer}");
        assert_eq!(answer["error"], Value::Null, "{answer}");
    }

    let one = names.first().unwrap();
    let run = sandbox.raptor(["exec", "--on", &format!("name={one}"), "--", "echo", "a"]);
    run.success().stdout_is(&format!("    {one}: a\n1 / 1 node(s) completed / acknowledged\n"));
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn what_one_member_is_told_all_know() {
    let sandbox = Sandbox::new();
    let members = spawn_three(&sandbox);
    let path = "server_types.test.modules";
    let value = json!(["headless"]);
    sandbox.raptor(["config", "set", path, &value.to_string()]).success();
    wait_for_everywhere(&sandbox, &members, path, &value);

    sandbox.raptor(["config", "unset", path]).success();
    wait_until(CONVERGENCE_LIMIT, "the key gone everywhere", || {
        let run = sandbox.raptor(["config", "get", path]).run();
        if run.code() == 1 { Ok(()) } else { Err(format!("{run:?}")) }
    });
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_killed_agent_comes_back_and_remembers() {
    let sandbox = Sandbox::new();
    let members = spawn_three(&sandbox);
    let path = "server_types.kept.modules";
    let value = json!(["headless"]);
    sandbox.raptor(["config", "set", path, &value.to_string()]).success();

    let agents = sandbox.processes_with(&["agent", "run"]);
    assert_eq!(agents.len(), 3, "{agents:?}");
    for agent in &agents {
        agent.kill();
    }
    wait_until(CONVERGENCE_LIMIT, "three other agents", || {
        let running = sandbox.processes_with(&["agent", "run"]);
        let fresh = running.iter().filter(|process| !agents.contains(process)).count();
        if fresh == 3 { Ok(()) } else { Err(format!("{running:?}")) }
    });
    let back = sandbox.wait_for_alive(3);
    let ids = |list: &[Value]| {
        list.iter().map(|member| text(&member["id"])).collect::<BTreeSet<String>>()
    };
    assert_eq!(ids(&back), ids(&members), "an agent came back as somebody else");
    wait_for_everywhere(&sandbox, &back, path, &value);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn destroy_all_leaves_nothing() {
    let sandbox = Sandbox::new();
    spawn_three(&sandbox);
    assert!(sandbox.processes_with(&["agent"]).len() >= 3, "{:?}", sandbox.processes());
    sandbox.raptor(["destroy", "--all", "--yes"]).success();
    sandbox.wait_for_silence();
    let machines = sandbox.home().join("machines");
    let left: Vec<_> = sandbox
        .files()
        .into_iter()
        .filter(|file| sandbox.home().join(file).starts_with(&machines))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
