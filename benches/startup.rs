//! `raptor --help` and `raptor version` beside starting `true`: the aim is under 20 ms.

mod support;

use std::process::Command;
use std::time::Duration;

use support::{Aim, RAPTOR, Samples, print_beside, run, time};

const COUNT: usize = 100;

fn main() {
    let floor = Samples::of(COUNT, || time(|| drop(run(&mut Command::new("true")))));
    for argument in ["--help", "version"] {
        let samples =
            Samples::of(COUNT, || time(|| drop(run(Command::new(&*RAPTOR).arg(argument)))));
        let aim = Aim::P99(Duration::from_millis(20));
        print_beside(&format!("raptor {argument}"), &samples, ("true", &floor), aim);
    }
}
