//! An idle agent among three members over 30 s: resident memory under 15 MB, processor under 0.2 %.
//! The floor is a shell that waits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use support::{User, verdict};

const WINDOW: Duration = Duration::from_secs(30);
/// The cluster's first seconds are spent on meeting each other, not on being idle.
const SETTLE: Duration = Duration::from_secs(10);

fn main() {
    let user = User::new();
    user.spawn_local(3);
    let agents = user.agents();
    assert_eq!(agents.len(), 3, "{agents:?}");
    let mut floor = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let floor_pid = i32::try_from(floor.id()).unwrap();
    thread::sleep(SETTLE);
    let pids: Vec<i32> = agents.iter().map(|(pid, _)| *pid).chain([floor_pid]).collect();
    let before: Vec<f64> = pids.iter().map(|pid| processor_seconds(*pid)).collect();
    thread::sleep(WINDOW);
    for (pid, before) in pids.iter().zip(before) {
        let percent = 100.0 * (processor_seconds(*pid) - before) / WINDOW.as_secs_f64();
        let resident_mb = resident_mb(*pid);
        if *pid == floor_pid {
            println!("  floor: cat                         {resident_mb:5.1} MB   {percent:5.2} %");
        } else {
            let met = verdict(resident_mb < 15.0 && percent < 0.2, "15 MB, 0.2 %");
            println!("agent {pid:<30} {resident_mb:5.1} MB   {percent:5.2} %   {met}");
        }
    }
    floor.kill().unwrap();
    floor.wait().unwrap();
}

/// Time on a processor, in user and system mode, from the nanoseconds of `schedstat` of every
/// thread: `stat` counts in ticks of 10 ms, too coarse for 0.2 % of 30 s.
fn processor_seconds(pid: i32) -> f64 {
    let mut nanoseconds = 0_u64;
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
    }
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

fn resident_mb(pid: i32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes * 1024.0 / 1e6
}
