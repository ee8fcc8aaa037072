//! One of ten local members dies, supervisor and all: how soon ten live again, the dead not among
//! them (median under 10 s). The floor is one machine made by hand in the same run.
//!
//! With `-- --all-but-one`, four of five die at once: how soon five live again. With `-- --docker` the
//! same with containers, each of which can drive the engine: once the survivor calls all of them failed
//! (what `benches/membership` measures too), at most 1.5 times what four take that are spawned by hand in the
//! same run. It begins when none is called alive any more: how long it took from then on is told as well.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

mod support;

use std::time::Duration;

use serde_json::json;
use support::hosts::{client, docker, engine_socket, image};
use support::process::kill;
use support::user::{LocalMachine, User};
use support::{Aim, Samples, is_asked, print, print_beside, run, time, until};

const ROUNDS: usize = 9;
const LIMIT: Duration = Duration::from_secs(120);

fn main() {
    if is_asked("--docker") {
        return containers();
    }
    let (members, victims, limit_s) =
        if is_asked("--all-but-one") { (5, 4, 20) } else { (10, 1, 10) };
    let floor = Samples::of(ROUNDS, || {
        let user = User::new();
        user.spawn_local(1);
        time(|| {
            run(&mut user.raptor(&["spawn", "--count", &victims.to_string()]));
            until(LIMIT, "the new ones alive", || user.sees_alive(1 + victims));
        })
    });
    let user = User::new();
    user.spawn_local(members);
    let hasty = r#"{"bury_after_ms": 1000, "settle_ms": 2000}"#;
    run(&mut user.raptor(&["config", "set", "fleet", hasty]));
    run(&mut user.raptor(&["scale", &members.to_string()]));
    let mut round = 0;
    let samples = Samples::of(ROUNDS, || {
        let machines = at_rest(&user, members);
        round += 1;
        let (dead, living): (Vec<_>, Vec<_>) =
            machines.iter().enumerate().partition(|(place, _)| (place + round) % members < victims);
        let names: Vec<&str> = dead.iter().map(|(_, machine)| machine.name()).collect();
        let witness = living[0].1;
        time(|| {
            for (_, machine) in &dead {
                kill(&machine.processes());
            }
            until(LIMIT, "as many again", || {
                let alive = witness.api().names_alive();
                alive.len() == members
                    && names.iter().all(|name| !alive.iter().any(|it| it == name))
            });
        })
    });
    let name = format!("{victims} of {members} local dead, replaced");
    let aim = Aim::Median(Duration::from_secs(limit_s));
    print_beside(&name, &samples, (&format!("spawn --count {victims} by hand"), &floor), aim);
}

/// The machines, once there are exactly as many as wished for, and all know each other.
fn at_rest(user: &User, members: usize) -> Vec<LocalMachine> {
    let all_alive = |machines: &[LocalMachine]| {
        machines.len() == members && machines.iter().all(|machine| machine.api().alive() == members)
    };
    until(LIMIT, "at rest", || all_alive(&user.machines()));
    user.machines()
}

/// Rounds with containers, which take ten seconds each.
const CONTAINER_ROUNDS: usize = 5;

fn containers() {
    let rounds = CONTAINER_ROUNDS;
    let (mut by_hand, mut losses) = (Vec::new(), Vec::new());
    // In turns, so that whatever else the computer does meets both.
    for _ in 0..rounds {
        let user = user_of_containers();
        spawn_containers(&user, 1);
        by_hand.push(time(|| spawn_containers(&user, 4)));
        drop(user);
        let user = user_of_containers();
        spawn_containers(&user, 5);
        losses.push(lose_four(&user));
    }
    let of =
        |time: fn(&Lost) -> Duration| Samples::from(losses.iter().map(time).collect::<Vec<_>>());
    print("4 of 5 docker dead: until none is alive", &of(|lost| lost.missed));
    print("  from then on to five alive", &of(|lost| lost.replaced.saturating_sub(lost.missed)));
    print("4 of 5 docker dead: until all failed", &of(|lost| lost.failed));
    let replaced = of(|lost| lost.replaced.saturating_sub(lost.failed));
    let floor = ("spawn --count 4 by hand", &Samples::from(by_hand));
    print_beside("  from then on to five alive", &replaced, floor, Aim::Ratio(1.5));
}

/// Makes `count` more, and waits until all that were ever made live.
fn spawn_containers(user: &User, count: usize) {
    let before = names(user, &["alive"]).len();
    let words = ["spawn", "--compute-type", "docker", "--count", &count.to_string()];
    run(&mut user.raptor(&words));
    until(LIMIT, "all alive", || user.sees_alive(before + count));
}

/// A user whose containers can make their like.
fn user_of_containers() -> User {
    User::with_config(&json!({
        "default_server_type": "bare",
        "server_types": {"bare": {"modules": []}},
        "compute_types": {"docker": compute_type()},
    }))
}

fn compute_type() -> serde_json::Value {
    let volumes = [
        format!("{}:/var/run/docker.sock", engine_socket()),
        format!("{}:/usr/bin/docker:ro", client()),
    ];
    let words: Vec<&str> = volumes.iter().flat_map(|it| ["--volume", it.as_str()]).collect();
    json!({"driver": "docker", "image": image(), "run_arguments": words})
}

/// How long it took from the death of four.
struct Lost {
    /// Until the fifth called none of them alive.
    missed: Duration,
    /// Until it called all of them failed, or had put them out.
    failed: Duration,
    /// Until five lived.
    replaced: Duration,
}

/// Ends all but the founder at once.
fn lose_four(user: &User) -> Lost {
    let rule = json!({"min": 5, "max": 5, "compute_types": ["docker"]});
    for (path, value) in [
        ("compute_types.docker", compute_type()),
        ("server_types.bare", json!({"modules": []})),
        ("default_server_type", json!("bare")),
        ("fleet", json!({"bury_after_ms": 1000, "settle_ms": 2000})),
        ("rules.default", rule),
    ] {
        run(&mut user.raptor(&["config", "set", path, &value.to_string()]));
    }
    let output = run(&mut user.raptor(&["status", "-o", "json"]));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let cluster = format!("label=raptor.cluster={}", status["cluster_id"].as_str().unwrap());
    let format = "{{.ID}} {{.Label \"raptor.name\"}}";
    let listed = docker(&["ps", "--filter", &cluster, "--format", format]);
    let (ids, dead): (Vec<&str>, Vec<&str>) = listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, name)| *name != "docker-1")
        .unzip();
    assert_eq!(dead.len(), 4, "{listed}");
    let is_dead = |name: &String| dead.contains(&name.as_str());
    docker(&[&["kill"][..], &ids].concat());
    let start = std::time::Instant::now();
    let are_seen = |statuses: &[&str]| names(user, statuses).iter().any(is_dead);
    until(LIMIT, "none alive", || !are_seen(&["alive"]));
    let missed = start.elapsed();
    until(LIMIT, "all failed", || !are_seen(&["alive", "suspect"]));
    let failed = start.elapsed();
    until(LIMIT, "five again", || {
        let alive = names(user, &["alive"]);
        alive.len() == 5 && !alive.iter().any(is_dead)
    });
    Lost { missed, failed, replaced: start.elapsed() }
}

/// Names of the members of some statuses, as the command line tells them.
fn names(user: &User, statuses: &[&str]) -> Vec<String> {
    let output = user.raptor(&["members", "-o", "json"]).output().unwrap();
    let members: Vec<serde_json::Value> =
        serde_json::from_slice(&output.stdout).unwrap_or_default();
    let is_meant = |member: &&serde_json::Value| {
        member["status"].as_str().is_some_and(|status| statuses.contains(&status))
    };
    let those = members.iter().filter(is_meant);
    those.filter_map(|member| Some(member["name"].as_str()?.to_owned())).collect()
}
