//! Three docker machines from nothing to all shown alive, beside three `docker run` of the same
//! image until SSH answers, plus copying the binary onto them: at most 1.5 times that.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::{
    Aim, Hosts, RAPTOR, Samples, User, docker, image, in_parallel, print_beside, run, time, until,
};

const COUNT: usize = 5;
const MACHINES: usize = 3;

fn main() {
    let floor = Samples::of(COUNT, || {
        let start = Instant::now();
        let hosts = Hosts::boot(MACHINES);
        in_parallel(&hosts.ids, |id| drop(docker(&["cp", RAPTOR, &format!("{id}:/raptor")])));
        // Removing them, when they are dropped, is no part of the floor.
        start.elapsed()
    });
    let samples = Samples::of(COUNT, || {
        let user = User::new();
        fs::create_dir_all(user.home().join("r")).unwrap();
        let config = serde_json::json!({"compute_types": {"docker": {"image": image()}}});
        fs::write(user.home().join("r/mutable_config.json"), config.to_string()).unwrap();
        let count = MACHINES.to_string();
        time(|| {
            run(&mut user.raptor(&["spawn", "--compute-type", "docker", "--count", &count]));
            until(Duration::from_secs(120), "all alive", || user.sees_alive(MACHINES));
        })
    });
    let floor = ("docker run, ssh, copy", &floor);
    print_beside("spawn --count 3 (docker)", &samples, floor, Aim::Ratio(1.5));
}
