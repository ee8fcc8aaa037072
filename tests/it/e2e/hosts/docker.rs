//! Machines that the back-end `docker` makes.

use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::{WORK_LIMIT, configure, names, text};
use crate::support::docker::docker;
use crate::support::run::Invocation;
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    configure(&sandbox, &serde_json::json!({}));
    sandbox.destroys_on_drop();
    sandbox
}

fn spawn(sandbox: &Sandbox, count: u32) -> Invocation {
    let count = count.to_string();
    sandbox.raptor(["spawn", "--compute-type", "docker", "--count", &count]).limit(WORK_LIMIT)
}

/// The containers of a cluster, by its id.
fn containers(cluster: &str) -> Vec<String> {
    let filter = format!("label=raptor.cluster={cluster}");
    let listed = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
    listed.lines().map(str::to_owned).collect()
}

fn cluster_id(sandbox: &Sandbox) -> String {
    let run = sandbox.raptor(["status", "-o", "json"]).success();
    text(&run.stdout_json()["cluster_id"])
}

fn container_of(sandbox: &Sandbox, name: &str) -> String {
    let filter = format!("label=raptor.cluster={}", cluster_id(sandbox));
    let named = format!("label=raptor.name={name}");
    docker(&["ps", "--all", "--quiet", "--filter", &filter, "--filter", &named])
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn containers_live_restart_and_go() {
    let sandbox = sandbox();
    spawn(&sandbox, 3).success();
    let members = sandbox.wait_for_alive(3);
    assert_eq!(names(&members), ["docker-1", "docker-2", "docker-3"]);
    assert!(members.iter().all(|member| member["compute_type"] == "docker"), "{members:?}");
    let cluster = cluster_id(&sandbox);
    assert_eq!(containers(&cluster).len(), 3);
    let run = sandbox.raptor(["exec", "--", "hostname"]).success();
    run.stdout_contains("    docker-2: docker-2\n")
        .stdout_contains("3 / 3 node(s) completed / acknowledged\n");
    // Real ssh, the host key known from birth: nothing is accepted unseen, the founder included.
    for name in ["docker-1", "docker-2", "docker-3"] {
        let run = sandbox.raptor(["ssh", name, "--", "hostname; exit 7"]).run();
        let run = run.status(7).stdout_is(&format!("{name}\n"));
        assert!(!run.stderr.contains("Permanently added"), "{run:?}");
        let told = sandbox.raptor(["ssh", name, "--info-only"]).success();
        told.stdout_contains("StrictHostKeyChecking=yes");
    }

    let restarted = container_of(&sandbox, "docker-2");
    docker(&["restart", "--time", "0", &restarted]);
    sandbox.wait_for_alive(3);
    wait_until(CONVERGENCE_LIMIT, "exec on the machine that was restarted", || {
        let run = sandbox.raptor(["exec", "--on", "name=docker-2", "--", "hostname"]).run();
        if run.stdout.contains("1 / 1 node(s)") { Ok(()) } else { Err(format!("{run:?}")) }
    });

    sandbox.raptor(["destroy", "docker-1", "--yes"]).success();
    assert_eq!(names(&sandbox.wait_for_alive(2)), ["docker-2", "docker-3"]);
    assert_eq!(containers(&cluster).len(), 2);
    spawn(&sandbox, 1).success();
    sandbox.wait_for_alive(3);

    sandbox.raptor(["destroy", "--all", "--yes"]).limit(WORK_LIMIT).success();
    assert!(containers(&cluster).is_empty(), "{:?}", containers(&cluster));
    sandbox.wait_for_silence();
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn processes_and_containers_are_one_cluster() {
    let sandbox = sandbox();
    sandbox.raptor(["spawn", "--count", "2"]).success();
    spawn(&sandbox, 1).success();
    let members = sandbox.wait_for_alive(3);
    assert_eq!(names(&members), ["docker-1", "local-1", "local-2"]);
    let run = sandbox.raptor(["exec", "--", "echo", "here"]).success();
    run.stdout_contains("3 / 3 node(s) completed / acknowledged\n");
    let run = sandbox.raptor(["ssh", "docker-1", "--", "cat /proc/sys/kernel/hostname"]);
    run.success().stdout_is("docker-1\n");
    let cluster = cluster_id(&sandbox);
    sandbox.raptor(["destroy", "--all", "--yes"]).limit(WORK_LIMIT).success();
    assert!(containers(&cluster).is_empty());
    sandbox.wait_for_silence();
}

/// The cluster id that the machines of an unfinished founding carry.
fn wished_cluster(sandbox: &Sandbox) -> Option<String> {
    let folder = sandbox.files();
    let file = folder.iter().find(|file| file.to_string_lossy().contains("founding"))?;
    let text = std::fs::read(sandbox.home().join(file)).ok()?;
    let founding: Value = serde_json::from_slice(&text).ok()?;
    let intent = founding["machines"].as_object()?.keys().next()?.clone();
    let filter = format!("label=raptor.intent={intent}");
    let format = "{{.Label \"raptor.cluster\"}}";
    let output = Command::new("docker")
        .args(["ps", "--all", "--filter", &filter, "--format", format])
        .output()
        .ok()?;
    let cluster = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!cluster.is_empty()).then_some(cluster)
}

/// Starts a `spawn` and pulls its plug as soon as the first container is there.
fn spawn_cut_off(sandbox: &Sandbox) -> String {
    let running = spawn(sandbox, 2).start();
    let cluster = wait_until(CONVERGENCE_LIMIT, "a first container", || {
        wished_cluster(sandbox).ok_or("none yet")
    });
    running.signal(Signal::KILL);
    running.finish(CONVERGENCE_LIMIT).status(-9);
    cluster
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_founding_that_was_cut_off_is_given_back() {
    let sandbox = sandbox();
    let cluster = spawn_cut_off(&sandbox);
    // A request that was under way may still be carried out by the engine.
    wait_until(CONVERGENCE_LIMIT, "all of it destroyed", || {
        let _nothing_left = sandbox.raptor(["destroy", "--all", "--yes"]).run();
        let left = containers(&cluster);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_founding_that_was_cut_off_is_gone_on_with() {
    let sandbox = sandbox();
    let cluster = spawn_cut_off(&sandbox);
    spawn(&sandbox, 2).success();
    assert_eq!(cluster_id(&sandbox), cluster, "another cluster was founded beside it");
    assert_eq!(names(&sandbox.wait_for_alive(2)), ["docker-1", "docker-2"]);
    assert_eq!(containers(&cluster).len(), 2, "what was made already was not taken up");
    sandbox.raptor(["destroy", "--all", "--yes"]).limit(WORK_LIMIT).success();
    assert!(containers(&cluster).is_empty(), "{:?}", containers(&cluster));
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_machine_that_moved_is_found_through_its_back_end() {
    let sandbox = sandbox();
    spawn(&sandbox, 1).success();
    sandbox.wait_for_alive(1);
    let machine = container_of(&sandbox, "docker-1");
    let address = || docker(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", &machine]);
    let before = address();
    docker(&["stop", "--time", "0", &machine]);
    // Whoever comes first gets the address.
    let label = format!("{}={}", crate::support::docker::LABEL, crate::support::docker::run_name());
    let image = crate::support::docker::image();
    let squatter = docker(&["run", "--detach", "--label", &label, &image, "sleep", "600"]);
    docker(&["start", &machine]);
    let moved = address() != before;
    let outcome = wait_until(CONVERGENCE_LIMIT, "an answer", || {
        let run = sandbox.raptor(["members"]).run();
        if run.code() == 0 { Ok(run) } else { Err(format!("{run:?}")) }
    });
    docker(&["rm", "--force", &squatter]);
    assert!(moved, "it was where it had been: {outcome:?}");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn volumes_go_with_their_machine() {
    let template = crate::support::docker::image();
    let label = format!("{}={}", crate::support::docker::LABEL, crate::support::docker::run_name());
    let made = docker(&["create", "--label", &label, &template, "true"]);
    let image = docker(&["commit", "--change", "VOLUME /data", &made]);
    docker(&["rm", &made]);
    let sandbox = Sandbox::new();
    let settings = serde_json::json!({"docker": {"driver": "docker", "image": image}});
    configure(&sandbox, &serde_json::json!({"compute_types": settings}));
    sandbox.destroys_on_drop();
    spawn(&sandbox, 1).success();
    let machine = container_of(&sandbox, "docker-1");
    let volume = docker(&["inspect", "-f", "{{range .Mounts}}{{.Name}}{{end}}", &machine]);
    docker(&["volume", "inspect", &volume]);
    sandbox.raptor(["destroy", "--all", "--yes"]).limit(WORK_LIMIT).success();
    let gone = crate::support::docker::try_docker(&["volume", "inspect", &volume]);
    docker(&["rmi", "--force", &image]);
    assert!(gone.is_err(), "the volume {volume} is still there");
}

/// The lines of a container's `authorized_keys` that the cluster's own key has.
fn cluster_lines(machine: &str) -> Vec<String> {
    let text = docker(&["exec", machine, "cat", "/root/.ssh/authorized_keys"]);
    text.lines().filter(|line| line.ends_with(" cluster-ssh")).map(str::to_owned).collect()
}

/// A member that came after a machine was made, and knows no key but the cluster's, logs in to it.
#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn the_clusters_own_key_opens_what_was_made_before_also_for_those_who_came_later() {
    let sandbox = sandbox();
    spawn(&sandbox, 1).success();
    sandbox.raptor(["spawn", "--compute-type", "local"]).success();
    let machine = container_of(&sandbox, "docker-1");
    let first = wait_until(CONVERGENCE_LIMIT, "the cluster's key in the container", || {
        <[String; 1]>::try_from(cluster_lines(&machine)).map_err(|lines| format!("{lines:?}"))
    });
    let home = sandbox.machine("local-1");
    assert!(!home.join("ssh").exists(), "it has a key of its own");
    let home = home.to_str().unwrap();
    let log_in = || {
        let run = sandbox.raptor(["--home", home, "ssh", "docker-1", "--", "hostname; exit 7"]);
        let run = run.run();
        if run.code() == 7 && run.stdout == "docker-1\n" { Ok(()) } else { Err(format!("{run:?}")) }
    };
    wait_until(CONVERGENCE_LIMIT, "the later one is sealed to, and logs in", log_in);
    // On no disk of a holder in the clear.
    let clear = sandbox.files().into_iter().find(|file| {
        let text = std::fs::read(sandbox.home().join(file)).unwrap_or_default();
        let is_key = String::from_utf8_lossy(&text).contains("BEGIN OPENSSH PRIVATE KEY");
        is_key && !file.starts_with("ssh")
    });
    assert_eq!(clear, None);

    // Who goes knows it: that is told, and the next one is another.
    sandbox.raptor(["evict", "local-1", "--yes"]).success();
    wait_until(CONVERGENCE_LIMIT, "it is listed", || {
        let rows = sandbox.raptor(["secret", "ls", "-o", "json"]).success().stdout_json();
        let row = rows.as_array().unwrap().iter().find(|row| row["name"] == "cluster-ssh").cloned();
        let row = row.unwrap();
        if row["rotate"][0]["node"] == "local-1" { Ok(()) } else { Err(row.to_string()) }
    });
    sandbox.raptor(["secret", "set", "cluster-ssh"]).stdin("mine").run().status(1);
    sandbox.raptor(["secret", "rotate", "cluster-ssh"]).success();
    wait_until(CONVERGENCE_LIMIT, "the new key, and the new one alone", || {
        let lines = cluster_lines(&machine);
        if lines.len() == 1 && lines != first { Ok(()) } else { Err(format!("{lines:?}")) }
    });
    sandbox.raptor(["ssh", "docker-1", "--", "true"]).success();
    sandbox.raptor(["destroy", "--all", "--yes"]).limit(WORK_LIMIT).success();
}
