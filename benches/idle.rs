//! An idle agent among three members over a minute: resident memory under 15 MB, processor under
//! 0.2 %. The floor is a program that waits.
//!
//! Resident memory counts the pages of the program file that the kernel mapped, which depends on
//! how it reads files and which all agents of one computer share; what belongs to the agent alone
//! and its proportional share stand beside it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

mod support;

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use support::process::{Memory, processor_time, wakeups};
use support::user::User;
use support::verdict;

const MEMBERS: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);
/// The cluster's first seconds are spent on meeting each other, not on being idle.
const SETTLE: Duration = Duration::from_secs(15);

fn main() {
    let user = User::new();
    let machines = user.spawn_local(MEMBERS);
    let mut floor = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let mut watched = vec![("floor: cat".to_owned(), floor.id())];
    for machine in &machines {
        let processes = machine.processes();
        let [supervisor, agent] = processes[..] else { panic!("{processes:?}") };
        watched.push((format!("agent {}", machine.name()), agent));
        watched.push((format!("  its supervisor {}", machine.name()), supervisor));
    }
    thread::sleep(SETTLE);
    let look = |(_, pid): &(String, u32)| (processor_time(*pid), wakeups(*pid));
    let before: Vec<_> = watched.iter().map(look).collect();
    thread::sleep(WINDOW);
    println!("{:<28}  resident   its own   share  processor  wakeups", "");
    for (process, (time_before, wakeups_before)) in watched.iter().zip(before) {
        let (time, wakeups) = look(process);
        let spent = time.saturating_sub(time_before);
        let percent = 100.0 * spent.as_secs_f64() / WINDOW.as_secs_f64();
        let wakeups = (wakeups - wakeups_before) / WINDOW.as_secs();
        let Memory { resident, own, proportional } = Memory::of(process.1);
        let met = if process.0.starts_with("agent") {
            verdict(resident < 15.0 && percent < 0.2, "15 MB, 0.2 %")
        } else {
            String::new()
        };
        println!(
            "{:<28} {resident:6.1} MB {own:6.1} MB {proportional:4.1} MB {percent:8.3} % \
             {wakeups:5}/s  {met}",
            process.0
        );
    }
    floor.kill().unwrap();
    floor.wait().unwrap();
}
