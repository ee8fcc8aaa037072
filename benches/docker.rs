//! Three docker machines from nothing to all shown alive, beside three `docker run` of the same
//! image until SSH answers, plus copying the binary onto them: at most 1.5 times that.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

mod support;

use std::time::Duration;

use support::hosts::{Hosts, image};
use support::user::User;
use support::{Aim, Samples, print_beside, run, time, until};

const COUNT: usize = 5;
const MACHINES: usize = 3;

fn main() {
    let mut floor = Vec::new();
    let mut samples = Vec::new();
    // In turns, so that whatever else the computer does meets both.
    for _ in 0..COUNT {
        let mut hosts = Hosts::prepare();
        floor.push(time(|| {
            hosts.boot(MACHINES);
            hosts.copy_to_each();
        }));
        drop(hosts);
        samples.push(spawn());
    }
    let floor = Samples::from(floor);
    let floor = ("docker run, ssh, copy", &floor);
    print_beside("spawn --count 3 (docker)", &Samples::from(samples), floor, Aim::Ratio(1.5));
}

fn spawn() -> Duration {
    let config = serde_json::json!({"compute_types": {"docker": {"image": image()}}});
    let user = User::with_config(&config);
    let count = MACHINES.to_string();
    time(|| {
        run(&mut user.raptor(&["spawn", "--compute-type", "docker", "--count", &count]));
        until(Duration::from_secs(120), "all alive", || user.sees_alive(MACHINES));
    })
}
