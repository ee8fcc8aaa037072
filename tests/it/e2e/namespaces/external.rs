//! A cluster on an existing network: two machines that have yggdrasil between them.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::e2e::text;
use crate::support::namespace::Pair;
use crate::support::run::{Invocation, Running};
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

const EXTERNAL: &str = "{\"mesh\": {\"engine\": \"external\", \"network\": \"200::/7\"}, \"dns\": {\"enabled\": \"off\"}}";

/// Starts yggdrasil in a place; `more` is the rest of its configuration.
fn yggdrasil(sandbox: &Sandbox, command: Invocation, name: &str, more: &str) -> Running {
    let file = sandbox.path().join(format!("{name}.conf"));
    let config = format!(
        "{{\"AdminListen\": \"none\", \"MulticastInterfaces\": [], \"IfName\": \"ygg0\", {more}}}"
    );
    fs::write(&file, config).unwrap();
    command.args(["-useconffile", file.to_str().unwrap()]).start()
}

/// Has yggdrasil run on both sides of the cable, the right one calling the left one.
fn network(sandbox: &Sandbox, pair: &Pair) -> [Running; 2] {
    let left = pair.left.enter(sandbox, "yggdrasil");
    let left = yggdrasil(sandbox, left, "left", "\"Listen\": [\"tcp://10.99.0.1:9001\"]");
    // Who calls in vain waits longer and longer.
    wait_until(CONVERGENCE_LIMIT, "somebody to call", || {
        let run = pair.left.enter(sandbox, "ss").args(["-Hltn"]).success();
        if run.stdout.contains(":9001") { Ok(()) } else { Err(format!("{run:?}")) }
    });
    let right = pair.right.enter(sandbox, "yggdrasil");
    let right = yggdrasil(sandbox, right, "right", "\"Peers\": [\"tcp://10.99.0.1:9001\"]");
    let address = wait_until(CONVERGENCE_LIMIT, "an address of yggdrasil's", || {
        let show = ["-6", "-o", "address", "show", "ygg0", "scope", "global"];
        let run = pair.left.enter(sandbox, "ip").args(show).run();
        let address = run.stdout.split_whitespace().nth(3).and_then(|word| word.split('/').next());
        address.map(str::to_owned).ok_or_else(|| format!("{run:?}"))
    });
    wait_until(CONVERGENCE_LIMIT, "an answer through yggdrasil", || {
        let ping = pair.right.enter(sandbox, "ping").args(["-c1", "-W1", &address]).run();
        if ping.code() == 0 { Ok(()) } else { Err(format!("{ping:?}")) }
    });
    [left, right]
}

/// Endpoints that members tell, all of yggdrasil's range.
fn are_external(endpoints: &Value) -> bool {
    let endpoints = endpoints.as_array().unwrap();
    endpoints.len() == 1
        && endpoints.iter().all(|endpoint| {
            let endpoint = text(endpoint);
            endpoint.starts_with("[2") || endpoint.starts_with("[3")
        })
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_cluster_runs_on_yggdrasil_alone() {
    let sandbox = Sandbox::new();
    let pair = Pair::new(&sandbox);
    let _yggdrasil = network(&sandbox, &pair);

    let raptor = env!("CARGO_BIN_EXE_raptor");
    pair.left.enter(&sandbox, raptor).args(["spawn", "--name", "ann"]).success();
    let ann = sandbox.machine("ann");
    fs::write(ann.join("mutable_config.json"), EXTERNAL).unwrap();
    sandbox.agent("ann", "run").unwrap().signal(Signal::KILL);
    let ask = |home: &Path, words: &[&str]| {
        sandbox.raptor(["--home", home.to_str().unwrap()]).args(words)
    };
    wait_until(CONVERGENCE_LIMIT, "an agent on yggdrasil", || {
        let run = ask(&ann, &["status", "-o", "json"]).run();
        let status: Value = serde_json::from_str(&run.stdout).unwrap_or_default();
        let is_there = status["endpoints"].is_array() && are_external(&status["endpoints"]);
        if is_there { Ok(()) } else { Err(format!("{run:?}")) }
    });
    let ticket = ask(&ann, &["ticket", "create"]).success().stdout;
    let bob = sandbox.path().join("bob");
    fs::create_dir(&bob).unwrap();
    fs::write(bob.join("mutable_config.json"), EXTERNAL).unwrap();
    let join = pair.right.enter(&sandbox, raptor).arg("--home").arg(&bob).args(["join", "-"]);
    join.stdin(ticket).success();
    for home in [&ann, &bob] {
        wait_until(CONVERGENCE_LIMIT, "both alive, on yggdrasil alone", || {
            let run = ask(home, &["members", "-o", "json"]).run();
            let members: Vec<Value> = serde_json::from_str(&run.stdout).unwrap_or_default();
            let is_so =
                |member: &&Value| member["status"] == "alive" && are_external(&member["endpoints"]);
            let count = members.iter().filter(is_so).count();
            if count == 2 { Ok(()) } else { Err(format!("{run:?}")) }
        });
        let mesh = ask(home, &["mesh", "-o", "json"]).success().stdout_json();
        let endpoint = text(&mesh["links"][0]["endpoint"]);
        assert!(endpoint.starts_with("[2") || endpoint.starts_with("[3"), "{mesh}");
        let devices = pair.left.enter(&sandbox, "ip").args(["-o", "link"]).success();
        assert!(!devices.stdout.contains("raptor0"), "{devices:?}");
    }
    let run = ask(&ann, &["exec", "--", "echo", "over yggdrasil"]).success();
    assert!(run.stdout.ends_with("2 / 2 node(s) completed / acknowledged\n"), "{run:?}");

    // Without the network there is no way round it: the cable below still stands.
    pair.right.enter(&sandbox, "ip").args(["link", "set", "ygg0", "down"]).success();
    wait_until(CONVERGENCE_LIMIT, "the other failed", || {
        let run = ask(&ann, &["members"]).run();
        if run.stdout.contains(" failed ") { Ok(()) } else { Err(format!("{run:?}")) }
    });
}
