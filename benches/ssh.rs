//! `slave` of ten hosts, beside ten parallel `ssh host true` plus ten parallel copies of the same
//! binary: at most twice that.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

mod support;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use support::{Aim, Hosts, RAPTOR, Samples, User, in_parallel, print_beside, run, time};

const COUNT: usize = 5;
const MACHINES: usize = 10;

fn main() {
    let mut floor = Vec::new();
    let mut samples = Vec::new();
    // Each round has fresh hosts, so that no copy is skipped and no agent is there already.
    for _ in 0..COUNT {
        let hosts = Hosts::boot(MACHINES);
        floor.push(time(|| {
            in_parallel(&hosts.addresses, |address| drop(run(&mut hosts.ssh(address, "true"))));
            in_parallel(&hosts.addresses, |address| copy(&hosts, address));
        }));
        samples.push(slave(&hosts));
    }
    let floor = Samples::from(floor);
    let floor = ("10 ssh true + 10 copies", &floor);
    print_beside("slave of 10 hosts", &Samples::from(samples), floor, Aim::Ratio(2.0));
}

fn copy(hosts: &Hosts, address: &str) {
    let status = hosts
        .ssh(address, "cat >/tmp/copy && chmod 755 /tmp/copy")
        .stdin(fs::File::open(RAPTOR).unwrap())
        .stdout(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "copy to {address}");
}

fn slave(hosts: &Hosts) -> Duration {
    let user = User::new();
    fs::create_dir_all(user.home().join("r")).unwrap();
    // A server type without modules: what is measured is raptor, not a package mirror.
    let config = serde_json::json!({"server_types": {"bare": {"modules": []}}});
    fs::write(user.home().join("r/mutable_config.json"), config.to_string()).unwrap();
    let key = hosts.key().display().to_string();
    let mut command = user.raptor(&["slave", "-i", &key, "--server-type", "bare"]);
    command.args(hosts.addresses.iter().map(|address| format!("root@{address}")));
    time(|| drop(run(&mut command)))
}
