//! A cluster on this computer alone: agents, each a process group with a home of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::text;
use crate::support::sandbox::Sandbox;
use crate::support::wait::wait_until;

fn names(members: &[Value]) -> BTreeSet<String> {
    members.iter().map(|member| text(&member["name"])).collect()
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn three_machines_from_nothing() {
    let sandbox = Sandbox::new();
    let run = sandbox.raptor(["spawn", "--count", "3"]).success();
    let head = ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC"];
    let table: Vec<Vec<&str>> =
        run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(table.len(), 4, "{run:?}");
    assert_eq!(table[0], head);
    for row in &table[1..] {
        assert!(row[1].starts_with("fc"), "{row:?}");
        assert_eq!(row[2..], ["alive", "headless", env!("CARGO_PKG_VERSION"), "1", "default"]);
    }
    for name in ["local-1", "local-2", "local-3"] {
        assert!(run.stderr.contains(&format!("{name}: done: joined\n")), "{run:?}");
    }
    assert!(run.stderr.contains("try next:\n  raptor exec -- uname -a\n"), "{run:?}");

    let members = sandbox.members();
    for key in ["id", "name", "address"] {
        let distinct: BTreeSet<String> = members.iter().map(|member| text(&member[key])).collect();
        assert_eq!(distinct.len(), 3, "{key} of {members:?}");
    }
    let keys = [
        "id",
        "name",
        "address",
        "status",
        "type",
        "build",
        "protocol",
        "dc",
        "compute_type",
        "endpoints",
        "nat",
        "via",
        "rtt_ms",
        "joined_at",
        "labels",
    ];
    for member in &members {
        let found: BTreeSet<&str> =
            member.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(found, BTreeSet::from(keys), "{member}");
        assert_eq!(member["compute_type"], "local");
        assert_eq!(member["labels"], json!({}));
        assert!(!member["endpoints"].as_array().unwrap().is_empty(), "{member}");
        assert!(text(&member["joined_at"]).ends_with('Z'), "{member}");
    }
    let wide = sandbox.raptor(["members", "-o", "wide"]).success();
    let columns: Vec<&str> = wide.stdout.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(columns[7..], ["Compute", "Via", "RTT", "Age"]);
    sandbox.raptor(["status"]).success().stdout_contains("all is well");
    let status = sandbox.raptor(["status", "-o", "json"]).success().stdout_json();
    assert_eq!(status["problems"], json!([]), "{status}");
    assert_eq!(status["links"].as_array().unwrap().len(), 2, "{status}");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn exec_prints_as_consul_does() {
    let sandbox = Sandbox::new();
    let names = names(&sandbox.spawn(3));

    let run = sandbox.raptor(["exec", "--", "echo", "hello world"]).success();
    let mut lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.pop(), Some("3 / 3 node(s) completed / acknowledged"), "{run:?}");
    let expected: BTreeSet<String> =
        names.iter().map(|name| format!("    {name}: hello world")).collect();
    assert_eq!(lines.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), expected);

    let run = sandbox.raptor(["exec", "-o", "json", "--", "sh", "-c", "echo bad >&2; exit 7"]);
    let answers = run.run().status(3).stdout_json_lines();
    assert_eq!(answers.len(), 3, "{answers:?}");
    for answer in &answers {
        assert!(names.contains(&text(&answer["node"])), "{answer}");
        assert_eq!(answer["exit_status"], 7, "{answer}");
        assert_eq!(answer["stderr"], "bad\n", "{answer}");
        assert_eq!(answer["stdout"], "", "{answer}");
        assert_eq!(answer["error"], Value::Null, "{answer}");
    }
    let only = |selector: &str| {
        sandbox
            .raptor(["exec", "--on", selector, "--", "echo", "a"])
            .success()
            .stdout_is("    local-2: a\n1 / 1 node(s) completed / acknowledged\n");
    };
    only("local-2");
    only("name=local-2");
    only("status=alive,name!=local-1,name!=local-3");

    let run =
        sandbox.raptor(["exec", "--on", "local-1", "--timeout", "200ms", "--", "sleep", "60"]);
    run.run()
        .status(3)
        .stdout_is("0 / 1 node(s) completed / acknowledged\n")
        .stderr_contains("    local-1: error: did not end within 200ms and was stopped\n");
    let left = sandbox.processes_with(&["sleep 60"]);
    assert!(left.is_empty(), "a stopped command runs on: {left:?}");

    let run = sandbox.raptor(["exec", "--on", "local-1,locla-2", "--", "true"]).run().status(1);
    run.stderr_contains("no member \"locla-2\"; did you mean \"local-2\"?").stdout_is("");

    let run = sandbox.raptor(["exec", "--on", "local-2", "--", "no-such-program"]).run().status(3);
    run.stderr_contains("    local-2: error: no-such-program: No such file or directory");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn spawn_takes_names_and_labels_and_may_stop_short_of_joining() {
    let sandbox = Sandbox::new();
    sandbox.spawn(1);
    sandbox
        .raptor(["spawn", "--name", "web", "--label", "zone=home", "--label", "disk=fast"])
        .success();
    let members = sandbox.wait_for_alive(2);
    let web = members.iter().find(|member| member["name"] == "web").unwrap();
    assert_eq!(web["labels"], json!({"zone": "home", "disk": "fast"}));
    sandbox
        .raptor(["exec", "--on", "zone=home", "--", "echo", "a"])
        .success()
        .stdout_is("    web: a\n1 / 1 node(s) completed / acknowledged\n");
    sandbox
        .raptor(["spawn", "--name", "web"])
        .run()
        .status(1)
        .stderr_contains("error: the name web is taken; choose another, or leave it out\n");

    sandbox.raptor(["spawn", "--name", "loose", "--no-join"]).success();
    assert_eq!(names(&sandbox.members()), BTreeSet::from(["local-1".into(), "web".into()]));
    assert!(sandbox.machine("loose").is_dir());
    sandbox.raptor(["destroy", "loose", "--yes"]).success();
    sandbox.wait_for_alive(2);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_dry_run_prints_the_plan_and_changes_nothing() {
    let sandbox = Sandbox::new();
    let plan = sandbox.raptor(["spawn", "--count", "2", "--dry-run", "-o", "json"]).success();
    let steps = plan.stdout_json()["steps"].as_array().unwrap().clone();
    let actions: Vec<&str> = steps.iter().map(|step| step["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["found", "create", "slave", "create", "slave"], "{plan:?}");
    assert!(sandbox.files().is_empty(), "{:?}", sandbox.files());

    sandbox.spawn(2);
    let documents = || sandbox.raptor(["config", "log", "-o", "json"]).success().stdout;
    let before = (documents(), sandbox.members().len());
    let dry = |words: &[&str], expected: &str| {
        sandbox.raptor(words).arg("--dry-run").success().stdout_is(expected);
    };
    dry(
        &["spawn"],
        "create machine local-3 on local as headless (machine 1 of 1 asked for)\n\
         slave local-3: provision headless, join (machine 1 of 1 asked for)\n",
    );
    dry(&["evict", "local-2"], "evict local-2 from default\n");
    dry(
        &["destroy", "local-2"],
        "evict local-2 (asked to go)\ndestroy local-2 on local (asked to go)\n",
    );
    dry(&["config", "set", "mesh.rings", "4"], "set mesh.rings to 4\n");
    dry(&["config", "unset", "mesh.rings"], "");
    dry(&["ticket", "create"], "create a ticket for 1 machine that holds 10m\n");
    dry(&["prune"], "");
    sandbox
        .raptor(["destroy", "--all", "--dry-run"])
        .success()
        .stdout_contains("destroy local-1 on local (all were asked to go)\n");
    sandbox.raptor(["clean", "--dry-run"]).success().stdout_contains("stop the agent at ");
    assert_eq!((documents(), sandbox.members().len()), before);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn ctrl_c_leaves_no_half_made_machine() {
    let sandbox = Sandbox::new();
    let run = sandbox.raptor(["spawn", "--count", "20"]).start();
    // The first machine is there, and the others are on their way.
    wait_until(Duration::from_secs(20), "a first agent", || {
        sandbox.processes_with(&["agent run"]).pop().ok_or("none runs")
    });
    run.signal(Signal::INT);
    let run = run.finish(Duration::from_secs(60)).status(130);
    let members = sandbox.raptor(["members", "-o", "json"]).run();
    let members: Vec<Value> = serde_json::from_str(&members.stdout).unwrap_or_default();
    assert!(members.len() < 20, "nothing was interrupted: {run:?}");
    assert!(run.stderr.contains("interrupted: nothing is left of local-"), "{run:?}");
    // What is a member runs; what is none has neither process nor folder.
    let kept = names(&members);
    let homes: BTreeSet<String> = walkdir::WalkDir::new(sandbox.home().join("machines"))
        .min_depth(2)
        .max_depth(2)
        .into_iter()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(homes, kept, "{run:?}");
    let agents = sandbox.processes_with(&["agent run"]);
    assert_eq!(agents.len(), kept.len(), "{agents:?}");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn two_clusters_live_in_one_home() {
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    sandbox.raptor(["-c", "two", "spawn", "--name", "other"]).success();
    let list = |cluster: &str| {
        let run = sandbox.raptor(["-c", cluster, "members", "-o", "json"]).success();
        names(run.stdout_json().as_array().unwrap())
    };
    assert_eq!(list("two"), BTreeSet::from(["other".into()]));
    assert_eq!(list("default"), BTreeSet::from(["local-1".into(), "local-2".into()]));
    assert_eq!(names(&sandbox.members()), list("default"), "the first stays the current one");

    let contexts = sandbox.raptor(["context", "ls"]).success();
    let rows: Vec<Vec<&str>> =
        contexts.stdout.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..2], ["*", "default"], "{contexts:?}");
    assert_eq!(rows[1][..2], ["-", "two"], "{contexts:?}");
    sandbox.raptor(["context", "use", "two"]).success();
    assert_eq!(names(&sandbox.members()), list("two"));
    let shown = sandbox.raptor(["context", "show", "-o", "json"]).success().stdout_json();
    assert_eq!(shown["name"], "two");

    sandbox.raptor(["destroy", "--all", "--yes"]).success();
    assert_eq!(names(&sandbox.members()), list("default"), "the other is the current one again");
    sandbox.raptor(["context", "rm", "default"]).success();
    sandbox.raptor(["members"]).run().status(1).stderr_contains("error: there is no cluster yet\n");
    assert_eq!(sandbox.processes_with(&["agent run"]).len(), 2, "forgetting ends nobody");
    sandbox.raptor(["clean", "--yes"]).success();
    sandbox.wait_for_silence();
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_closed_pipe_is_no_error() {
    let sandbox = Sandbox::new();
    sandbox.spawn(1);
    let raptor = env!("CARGO_BIN_EXE_raptor");
    for words in
        ["members", "completion bash", "config show", "exec -- seq 100000", "config schema"]
    {
        // `dash` knows no PIPESTATUS: the status goes through a file descriptor of its own.
        let script = format!("{{ {raptor} {words}; echo $? >&3; }} 3>&2 | true");
        let run = sandbox.program("sh").args(["-c", &script]).success();
        assert_eq!(run.stderr, "0\n", "{words}: {run:?}");
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn version_and_completion_touch_nothing() {
    let sandbox = Sandbox::new();
    let version = sandbox.raptor(["version", "-o", "json"]).success().stdout_json();
    assert_eq!(version["name"], "raptor");
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish"] {
        sandbox.raptor(["completion", shell]).success().stdout_contains("members");
    }
    let script = sandbox.raptor(["completion", "bash"]).success().stdout;
    sandbox.program("bash").args(["-n"]).stdin(script).success();
    assert!(sandbox.files().is_empty(), "{:?}", sandbox.files());
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn two_who_found_at_once_found_one_cluster() {
    let sandbox = Sandbox::new();
    let both = ["a", "b"].map(|name| sandbox.raptor(["spawn", "--name", name]).start());
    for running in both {
        running.finish(Duration::from_secs(120)).success();
    }
    let members = sandbox.wait_for_alive(2);
    assert_eq!(names(&members), BTreeSet::from(["a", "b"].map(str::to_owned)));
    assert_eq!(sandbox.folders().len(), 2);
    sandbox.raptor(["destroy", "--all", "--yes"]).success();
    sandbox.wait_for_silence();
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_dry_run_ends_no_agent_and_starts_none() {
    let sandbox = Sandbox::new();
    sandbox.spawn(1);
    let home = sandbox.machine("local-1").display().to_string();
    let agent = |verb: &str| sandbox.raptor(["--home", &home, "agent", verb, "--dry-run"]);
    agent("stop").success().stdout_is(&format!("end the agent of {home}\n"));
    agent("run").success().stdout_is(&format!("run the agent of {home}\n"));
    sandbox.raptor(["--home", &home, "agent", "status"]).success();
    let told = sandbox.raptor(["plan"]).success();
    told.stdout_contains(
        "nothing is to be done: no rule says what must hold (`raptor scale 3` writes one)\n",
    );
}
