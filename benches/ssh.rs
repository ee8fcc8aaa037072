//! `slave` of ten hosts, beside ten parallel `ssh host true` plus ten parallel copies of the same
//! binary: at most twice that.

mod support;

use std::time::Duration;

use support::hosts::Hosts;
use support::user::User;
use support::{Aim, Samples, in_parallel, print_beside, run, time};

const COUNT: usize = 5;
const MACHINES: usize = 10;

fn main() {
    let mut floor = Vec::new();
    let mut samples = Vec::new();
    // Each round has fresh hosts, so that no copy is skipped and no agent is there already.
    for _ in 0..COUNT {
        let mut hosts = Hosts::prepare();
        hosts.boot(MACHINES);
        floor.push(time(|| {
            in_parallel(&hosts.addresses, |address| drop(run(&mut hosts.ssh(address, "true"))));
            hosts.copy_to_each();
        }));
        samples.push(slave(&hosts));
    }
    let floor = Samples::from(floor);
    let floor = ("10 ssh true + 10 copies", &floor);
    print_beside("slave of 10 hosts", &Samples::from(samples), floor, Aim::Ratio(2.0));
}

fn slave(hosts: &Hosts) -> Duration {
    // A server type without modules: what is measured is raptor, not a package mirror.
    let config = serde_json::json!({
        "ssh": {"identity_file": hosts.key()},
        "server_types": {"bare": {"modules": []}},
    });
    let user = User::with_config(&config);
    let mut command = user.raptor(&["slave", "--server-type", "bare"]);
    command.args(hosts.addresses.iter().map(|address| format!("root@{address}")));
    time(|| drop(run(&mut command)))
}
