//! Local machines from nothing to all shown alive: three in under 2 s, ten in under 5 s.
//! The floor is as many starts of the binary itself, one after the other.

mod support;

use std::process::Command;
use std::time::Duration;

use support::user::User;
use support::{Aim, RAPTOR, Samples, print_beside, run, time, until};

const COUNT: usize = 7;

fn main() {
    for (machines, limit_s) in [(3, 2), (10, 5)] {
        let floor = Samples::of(COUNT, || {
            time(|| (0..machines).for_each(|_| drop(run(Command::new(&*RAPTOR).arg("version")))))
        });
        let samples = Samples::of(COUNT, || {
            let user = User::new();
            time(|| {
                run(&mut user.raptor(&["spawn", "--count", &machines.to_string()]));
                until(Duration::from_secs(60), "all alive", || user.sees_alive(machines));
            })
        });
        let aim = Aim::Median(Duration::from_secs(limit_s));
        let name = format!("spawn --count {machines} (local)");
        print_beside(&name, &samples, (&format!("{machines} x raptor version"), &floor), aim);
    }
}
