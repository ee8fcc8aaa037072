//! Ten local members: how soon a `config set` is readable on all (p99 under 1 s), and how soon a
//! killed one is called failed by all the others (median under 6 s). The floor of the first is
//! reading the key from all ten when it has long been there; of the second, the same look at
//! every other member's table.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Aim, Samples, User, print_beside, run, time, until, verdict};

const MEMBERS: usize = 10;
const WRITES: usize = 100;
const DEATHS: usize = 5;
const LIMIT: Duration = Duration::from_secs(60);

fn main() {
    let user = User::new();
    user.spawn_local(MEMBERS);
    let names = user.names();
    propagation(&user, &names);
    detection(&user, &names);
}

fn key(write: usize) -> String {
    format!("server_types.write-{write}.modules")
}

fn is_readable(user: &User, name: &str, key: &str) -> bool {
    let mut command = user.raptor(&["--connect"]);
    command.arg(format!("unix:{}", user.socket_of(name).display())).args(["config", "get", key]);
    command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn propagation(user: &User, names: &[String]) {
    let mut write = 0;
    let samples = Samples::of(WRITES, || {
        write += 1;
        run(&mut user.raptor(&["config", "set", &key(write), "[]"]));
        // From the acknowledgement on; each look starts a program, which the floor does too.
        time(|| {
            for name in names {
                until(LIMIT, "readable", || is_readable(user, name, &key(write)));
            }
        })
    });
    let floor = Samples::of(WRITES, || {
        time(|| names.iter().for_each(|name| assert!(is_readable(user, name, &key(1)))))
    });
    let aim = Aim::Within(Duration::from_secs(1));
    print_beside("config set, readable on 10", &samples, ("reading from 10", &floor), aim);
    let p99 = samples.quantile(0.99);
    println!("{:<36} p99 {p99:.1?}   {}", "", verdict(p99 < Duration::from_secs(1), "p99 1 s"));
}

fn status_of(user: &User, witness: &str, name: &str) -> Option<String> {
    let members = user.members(Some(witness))?;
    let member = members.iter().find(|member| member["name"] == *name)?;
    Some(member["status"].as_str()?.to_owned())
}

fn detection(user: &User, names: &[String]) {
    let (victim, witnesses) = names.split_last().unwrap();
    let folder = user.socket_of(victim).parent().unwrap().parent().unwrap().to_owned();
    let mut deaths = Vec::new();
    for _ in 0..DEATHS {
        let frozen = processes_of(&folder.to_string_lossy());
        assert!(!frozen.is_empty(), "no process of {victim}");
        // Its supervisor goes first, or it would have another agent up before anybody looked.
        for pid in &frozen {
            run(Command::new("kill").args(["-9", &pid.to_string()]));
        }
        deaths.push(time(|| {
            for witness in witnesses {
                until(LIMIT, "called failed", || {
                    status_of(user, witness, victim).is_some_and(|status| status == "failed")
                });
            }
        }));
        run(&mut restart(user, &folder.to_string_lossy()));
        until(LIMIT, "alive again", || user.sees_alive(MEMBERS));
    }
    let floor = Samples::of(DEATHS, || {
        time(|| witnesses.iter().for_each(|witness| drop(user.members(Some(witness)))))
    });
    let samples = Samples::from(deaths);
    let aim = Aim::Within(Duration::from_secs(6));
    print_beside("kill -9 to failed on all", &samples, ("9 x members", &floor), aim);
}

/// Supervisor and agent of one machine, the supervisor first.
fn processes_of(folder: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let raw = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&raw).replace('\0', " ");
        if line.contains(folder) && line.contains(" agent ") {
            found.push((!line.contains("supervise"), pid));
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(_, pid)| pid).collect()
}

/// The supervisor detaches itself: the command ends at once.
fn restart(user: &User, folder: &str) -> Command {
    user.raptor(&["--home", folder, "agent", "supervise"])
}
