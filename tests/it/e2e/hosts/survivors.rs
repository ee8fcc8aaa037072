//! The last survivor among containers: each can drive the engine that it runs on, because it was
//! given the engine's socket. What exists is read from `docker ps`, not from raptor's word.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{WORK_LIMIT, configure, text};
use crate::support::docker::{docker, image, try_docker};
use crate::support::sandbox::Sandbox;
use crate::support::wait::{stays, wait_until};

/// How long the one that is left may take.
const MENDED: Duration = Duration::from_secs(120);

/// Where the engine's socket is on this computer.
fn engine_socket() -> String {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned()
}

/// The client program, which has no need of anything but the C library.
fn client() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("docker"));
    let found: Option<PathBuf> = found.into_iter().find(|file| file.is_file());
    std::fs::canonicalize(found.expect("docker is installed")).unwrap().display().to_string()
}

/// The cluster's containers that run, and those that are there besides, by name.
pub(super) fn containers(cluster: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let filter = format!("label=raptor.cluster={cluster}");
    let format = "{{.State}} {{.Label \"raptor.name\"}}";
    let listed = docker(&["ps", "--all", "--filter", &filter, "--format", format]);
    let lines = listed.lines().filter_map(|line| line.split_once(' '));
    let (running, others): (Vec<_>, Vec<_>) = lines.partition(|(state, _)| *state == "running");
    let names = |them: Vec<(&str, &str)>| -> BTreeSet<String> {
        them.into_iter().map(|(_, name)| name.to_owned()).collect()
    };
    (names(running), names(others))
}

/// Ends containers at once, all together.
pub(super) fn kill(cluster: &str, names: &[&String]) {
    let ids: Vec<String> = names.iter().map(|name| container(cluster, name)).collect();
    let words = ["kill".to_owned()].into_iter().chain(ids);
    let killed = Command::new("docker").args(words).output().unwrap();
    assert!(killed.status.success(), "{killed:?}");
}

pub(super) fn container(cluster: &str, name: &str) -> String {
    let (cluster, name) =
        (format!("label=raptor.cluster={cluster}"), format!("label=raptor.name={name}"));
    docker(&["ps", "--all", "--quiet", "--filter", &cluster, "--filter", &name])
}

/// A cluster of containers that can make their like, and a rule that asks for `count` of them. Docker
/// is told `further` words for each.
pub(super) fn fleet_of(count: usize, further: &[&str]) -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.destroys_on_drop();
    let socket = engine_socket();
    let volumes =
        [format!("{socket}:/var/run/docker.sock"), format!("{}:/usr/bin/docker:ro", client())];
    let mut words: Vec<&str> = volumes.iter().flat_map(|it| ["--volume", it.as_str()]).collect();
    words.extend(further);
    let compute_type = json!({"driver": "docker", "image": image(), "run_arguments": words});
    configure(&sandbox, &json!({"compute_types": {"docker": compute_type.clone()}}));
    let words = ["spawn", "--compute-type", "docker", "--count", &count.to_string()];
    sandbox.raptor(words).limit(WORK_LIMIT).success();
    sandbox.wait_for_alive(count);
    // The members know what stands in the document, and nothing of this computer's files.
    let rule = json!({"min": count, "max": count, "compute_types": ["docker"]});
    for (path, value) in [
        ("compute_types.docker", compute_type),
        ("server_types.bare", json!({"modules": []})),
        ("default_server_type", json!("bare")),
        ("user.motto", json!("kept")),
        ("fleet", json!({"bury_after_ms": 1000, "settle_ms": 2000})),
        ("rules.default", rule),
    ] {
        sandbox.raptor(["config", "set", path, &value.to_string()]).success();
    }
    let status = sandbox.raptor(["status", "-o", "json"]).success().stdout_json();
    let cluster = text(&status["cluster_id"]);
    (sandbox, cluster)
}

/// Waits until exactly `count` containers are there and all of them run, and never were more.
fn wait_for_exactly(cluster: &str, count: usize) -> BTreeSet<String> {
    wait_until(MENDED, &format!("exactly {count} containers"), || {
        let (running, others) = containers(cluster);
        assert!(running.len() <= count, "more than were asked for: {running:?}");
        let is_so = running.len() == count && others.is_empty();
        if is_so { Ok(running) } else { Err(format!("{running:?} run, {others:?} do not")) }
    })
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn the_container_that_is_left_makes_the_others_again() {
    const COUNT: usize = 3;
    let (sandbox, cluster) = fleet_of(COUNT, &[]);
    // First the founder survives, then one that was made by a container: the person at the keyboard
    // has never heard of it.
    for round in 0..2 {
        let before = wait_for_exactly(&cluster, COUNT);
        sandbox.wait_for_alive(COUNT);
        let survivor = if round == 0 {
            before.iter().next().unwrap()
        } else {
            before
                .iter()
                .find(|name| !["docker-1", "docker-2", "docker-3"].contains(&name.as_str()))
                .unwrap()
        };
        let dead: Vec<&String> = before.iter().filter(|name| *name != survivor).collect();
        kill(&cluster, &dead);
        let started = Instant::now();
        // One that could not be made a member goes again, and another comes.
        let after = wait_until(MENDED, "as many members as containers, and the same", || {
            let there = wait_for_exactly(&cluster, COUNT);
            let seen = sandbox.wait_for_alive(COUNT);
            let seen: BTreeSet<String> = seen.iter().map(|member| text(&member["name"])).collect();
            if seen == there { Ok(seen) } else { Err(format!("{seen:?}, {there:?} run")) }
        });
        eprintln!("{survivor} made {COUNT} after {:?}", started.elapsed());
        assert_eq!(before.intersection(&after).collect::<Vec<_>>(), [survivor]);
        sandbox.raptor(["config", "get", "user.motto"]).success().stdout_is("\"kept\"\n");
    }
    stays(Duration::from_secs(5), "as many as asked for", || {
        let (running, others) = containers(&cluster);
        let is_so = running.len() == COUNT && others.is_empty();
        if is_so { Ok(()) } else { Err(format!("{running:?}, {others:?}")) }
    });
    sandbox.raptor(["destroy", "--all", "--yes"]).limit(WORK_LIMIT).success();
    let left = try_docker(&[
        "ps",
        "--all",
        "--quiet",
        "--filter",
        &format!("label=raptor.cluster={cluster}"),
    ]);
    assert_eq!(left.as_deref(), Ok(""));
}

/// Ends all agents in a container, which itself goes on. The quotes keep it from finding itself.
const KILL_AGENTS: &str = "pids=
for process in /proc/[0-9]*; do
    case $(tr '\\0' ' ' <\"$process/cmdline\" 2>/dev/null) in
        *raptor' --home '*' agent run'*) pids=\"$pids ${process#/proc/}\" ;;
        *raptor' --home '*' agent supervise'*) pids=\"$pids ${process#/proc/}\" ;;
    esac
done
[ -n \"$pids\" ] && kill -9 $pids";

/// The command lines of the connections that an agent in a container holds.
const MASTERS: &str = "for process in /proc/[0-9]*; do
    case $(tr '\\0' ' ' <\"$process/cmdline\" 2>/dev/null) in 'ssh -M'*) echo \"$process\" ;; esac
done";

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_member_killed_in_the_midst_of_a_spawn_by_rule_leaves_it_to_another() {
    const COUNT: usize = 3;
    let (sandbox, cluster) = fleet_of(COUNT, &[]);
    let before = wait_for_exactly(&cluster, COUNT);
    let lost = before.iter().next_back().unwrap();
    kill(&cluster, &[lost]);
    let masters = |id: &str| try_docker(&["exec", id, "sh", "-c", MASTERS]).unwrap_or_default();
    let driver = wait_until(MENDED, "a member that makes another machine", || {
        let mut others = before.iter().filter(|name| *name != lost);
        let driver = others.find(|name| !masters(&container(&cluster, name)).is_empty());
        driver.ok_or("nobody is logged in anywhere")
    });
    let id = container(&cluster, driver);
    docker(&["exec", &id, "sh", "-c", KILL_AGENTS]);
    wait_until(Duration::from_secs(10), "no ssh left running", || {
        let left = masters(&id);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    let agree = |spared: &BTreeSet<String>| {
        let (running, others) = containers(&cluster);
        let run = sandbox.raptor(["members", "-o", "json"]).run();
        let members: Vec<Value> = serde_json::from_str(&run.stdout).unwrap_or_default();
        let alive = members.iter().filter(|member| member["status"] == "alive");
        let alive: BTreeSet<String> = alive.map(|member| text(&member["name"])).collect();
        let is_so = &running - spared == alive && alive.len() == COUNT && others.is_empty();
        if is_so { Ok(()) } else { Err(format!("{alive:?} alive, {running:?} run, {others:?}")) }
    };
    // Its machine runs: the loop replaces it and leaves it alone, and a person takes it away.
    let spared = [driver.clone()].into();
    wait_until(MENDED, "as many members as containers, and the same", || agree(&spared));
    sandbox.raptor(["prune", "--yes"]).limit(WORK_LIMIT).success();
    wait_until(MENDED, "nothing left behind", || agree(&BTreeSet::new()));
    sandbox.raptor(["destroy", "--all", "--yes"]).limit(WORK_LIMIT).success();
}
