//! One of ten local members dies, supervisor and all: how soon ten live again, the dead not among
//! them (median under 10 s). The floor is one machine made by hand in the same run.
//!
//! With `-- --all-but-one`, four of five die at once: how soon five live again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

mod support;

use std::time::Duration;

use support::process::kill;
use support::user::{LocalMachine, User};
use support::{Aim, Samples, is_asked, print_beside, run, time, until};

const ROUNDS: usize = 9;
const LIMIT: Duration = Duration::from_secs(120);

fn main() {
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
