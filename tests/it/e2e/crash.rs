//! Agents that die, hang, or find their files damaged.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::text;
use crate::support::run::Running;
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::{pass, stays, wait_until};

fn identities(members: &[Value]) -> BTreeSet<(String, String, String)> {
    let identity = |member: &Value| {
        (text(&member["name"]), text(&member["id"]), text(&member["endpoints"][0]))
    };
    members.iter().map(identity).collect()
}

/// Ends the machine's supervisor and agent, so that the test itself decides when it runs.
fn take_down(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.agent(name, "supervise").unwrap().kill();
    sandbox.agent(name, "run").unwrap().kill();
    sandbox.machine(name)
}

/// Runs the machine's agent without a supervisor, and waits until it answers.
fn run_agent(sandbox: &Sandbox, home: &Path) -> Running {
    let home = home.to_str().unwrap();
    let mut agent = sandbox.raptor(["--home", home, "agent", "run"]).start();
    wait_until(CONVERGENCE_LIMIT, "an agent that answers", || {
        assert!(agent.is_running(), "the agent of {home} ended");
        let run = sandbox.raptor(["--home", home, "agent", "status"]).run();
        if run.code() == 0 { Ok(()) } else { Err(format!("{run:?}")) }
    });
    agent
}

fn problems(sandbox: &Sandbox, home: &Path) -> String {
    let status = ["--home", home.to_str().unwrap(), "status", "-o", "json"];
    let status = sandbox.raptor(status).success().stdout_json();
    status["problems"].to_string()
}

fn only_file(folder: &Path, prefix: &str) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let starts = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(prefix);
    entries.filter(starts).max().unwrap_or_else(|| panic!("no {prefix} in {}", folder.display()))
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn killed_agents_come_back_as_who_they_were() {
    let sandbox = Sandbox::new();
    let before = identities(&sandbox.spawn(3));
    let path = "server_types.kept.modules";
    sandbox.raptor(["config", "set", path, "[\"headless\"]"]).success();
    let agents = sandbox.processes_with(&["agent run"]);
    assert_eq!(agents.len(), 3, "{agents:?}");
    agents.iter().for_each(crate::support::process::Process::kill);
    wait_until(CONVERGENCE_LIMIT, "three other agents", || {
        let running = sandbox.processes_with(&["agent run"]);
        let fresh = running.iter().filter(|process| !agents.contains(process)).count();
        if fresh == 3 { Ok(()) } else { Err(format!("{running:?}")) }
    });
    let back = sandbox.wait_for_alive(3);
    assert_eq!(identities(&back), before, "an agent came back as somebody or somewhere else");
    for name in ["local-1", "local-2", "local-3"] {
        sandbox.wait_for_value(name, path, &json!(["headless"]));
    }
}

/// Rounds of the test below.
const ROUNDS: u64 = 20;

/// Longest life of an agent in one round, in milliseconds: a debug build answers after some 50.
const LIFE_MS_MAX: u64 = 400;

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn what_was_acknowledged_outlives_kill_9_at_any_point() {
    let sandbox = Sandbox::new();
    sandbox.spawn(1);
    let home = take_down(&sandbox, "local-1");
    let at_home = ["--home", home.to_str().unwrap()];
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    // Numerical Recipes' generator: the lives are the same in every run.
    let mut draw = 1u64;
    for round in 0..ROUNDS {
        draw = draw.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) % (1 << 32);
        let agent = run_agent(&sandbox, &home);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..2)
                .map(|writer| {
                    let (sandbox, at_home) = (&sandbox, &at_home);
                    scope.spawn(move || {
                        let mut done = Vec::new();
                        for number in 0.. {
                            let key = format!("k{round}-{writer}-{number}");
                            let path = format!("server_types.{key}.modules");
                            let set = [&at_home[..], &["config", "set", &path, "[]"]].concat();
                            if sandbox.raptor(set).run().code() != 0 {
                                return done;
                            }
                            done.push(key);
                        }
                        done
                    })
                })
                .collect();
            pass(Duration::from_millis(draw % LIFE_MS_MAX));
            agent.signal(Signal::KILL);
            for writer in writers {
                acknowledged.extend(writer.join().unwrap());
            }
        });
        agent.finish(Duration::from_secs(10)).status(-9);
    }
    assert!(acknowledged.len() > 20, "too little was written to prove anything: {acknowledged:?}");
    let _agent = run_agent(&sandbox, &home);
    let show = [&at_home[..], &["config", "get", "server_types"]].concat();
    let kept = sandbox.raptor(show).success().stdout_json();
    let lost: Vec<&String> =
        acknowledged.iter().filter(|key| kept.get(key.as_str()).is_none()).collect();
    assert!(
        lost.is_empty(),
        "of {} acknowledged writes these are lost: {lost:?}",
        acknowledged.len()
    );
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_state_folder_has_one_agent() {
    let sandbox = Sandbox::new();
    sandbox.spawn(1);
    let home = sandbox.machine("local-1");
    let at_home = ["--home", home.to_str().unwrap(), "agent"];
    let agent = sandbox.agent("local-1", "run").unwrap();
    let second = sandbox.raptor([&at_home[..], &["run"]].concat()).run().status(78);
    let folder = home.join("agent");
    second.stderr_contains(&format!(
        "error: an agent (process {}) already runs on {}\n",
        agent.pid,
        folder.display()
    ));
    assert!(agent.is_running());

    // SIGTERM to the supervisor ends both, with all said and the socket gone.
    sandbox.agent("local-1", "supervise").unwrap().signal(Signal::TERM);
    sandbox.wait_for_silence();
    assert!(!folder.join("agent.sock").exists());
    let log = fs::read_to_string(folder.join("agent.log")).unwrap();
    assert!(log.lines().last().unwrap().contains("the agent ends"), "{log}");
    // One in the foreground ends by SIGTERM with success.
    let agent = run_agent(&sandbox, &home);
    agent.signal(Signal::TERM);
    agent.finish(Duration::from_secs(10)).success();
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn starts_wait_for_whoever_has_the_home() {
    let sandbox = Sandbox::new();
    sandbox.spawn(1);
    let home = take_down(&sandbox, "local-1");
    // As a process does that writes into the home, or a child of one that is just being born.
    let lock = fs::File::open(home.join("agent/agent.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let supervise = ["--home", home.to_str().unwrap(), "agent", "supervise"];
    let mut first = sandbox.raptor(supervise).start();
    let agent = wait_until(CONVERGENCE_LIMIT, "an agent that starts", || {
        sandbox.agent("local-1", "run").ok_or("none")
    });
    let mut second = sandbox.raptor(supervise).start();
    stays(Duration::from_secs(1), "all wait", || {
        let all = first.is_running() && second.is_running() && agent.is_running();
        if all { Ok(()) } else { Err("one has ended") }
    });
    drop(lock);
    // The second ends when the first's agent is ready.
    let second = second.finish(CONVERGENCE_LIMIT).status(78);
    second.stderr_contains(&format!("error: an agent (process {}) already runs on", first.pid()));
    sandbox.raptor(["--home", home.to_str().unwrap(), "agent", "status"]).success();
    assert!(agent.is_running() && first.is_running());
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn who_is_stopped_has_ended_and_is_not_started_again() {
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    for (name, dies_first) in [("local-1", false), ("local-2", true)] {
        let home = sandbox.machine(name).to_str().unwrap().to_owned();
        if dies_first {
            // Its supervisor pauses before it starts it again.
            sandbox.agent(name, "run").unwrap().kill();
        }
        sandbox.raptor(["--home", &home, "agent", "stop"]).success();
        let left = sandbox.processes_with(&[&home]);
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_torn_log_is_cut_and_said() {
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    let path = "server_types.torn.modules";
    sandbox.raptor_at("local-1", ["config", "set", path, "[]"]).success();
    sandbox.wait_for_value("local-2", path, &json!([]));
    let home = take_down(&sandbox, "local-2");
    let log = only_file(&home.join("agent/document"), "log-");
    let length = fs::metadata(&log).unwrap().len();
    fs::File::options().write(true).open(&log).unwrap().set_len(length - 3).unwrap();
    let agent = run_agent(&sandbox, &home);
    let told = problems(&sandbox, &home);
    let cut = format!("{}: cut off ", log.display());
    assert!(told.contains(&cut) && told.contains("of a write that was interrupted"), "{told}");
    // What was cut off comes back from the other member.
    sandbox.wait_for_value("local-2", path, &json!([]));
    agent.signal(Signal::TERM);
    agent.finish(Duration::from_secs(10)).success();
    let _agent = run_agent(&sandbox, &home);
    assert!(!problems(&sandbox, &home).contains("cut off"), "said once");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_damaged_snapshot_gives_way_to_the_one_before() {
    let sandbox = Sandbox::new();
    let before = sandbox.spawn(1);
    let path = "server_types.kept.modules";
    sandbox.raptor(["config", "set", path, "[]"]).success();
    let home = take_down(&sandbox, "local-1");
    let snapshot = only_file(&home.join("agent/document"), "snapshot-");
    let mut bytes = fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&snapshot, bytes).unwrap();
    let _agent = run_agent(&sandbox, &home);
    let told = problems(&sandbox, &home);
    assert!(told.contains(snapshot.to_str().unwrap()), "{told}");
    sandbox.wait_for_value("local-1", path, &json!([]));
    assert_eq!(identities(&sandbox.wait_for_alive(1)), identities(&before));
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn one_that_hangs_fails_and_is_alive_again() {
    let sandbox = Sandbox::new();
    sandbox.spawn(3);
    let (stays, goes) = ("server_types.stays.modules", "server_types.goes.modules");
    sandbox.raptor_at("local-3", ["config", "set", goes, "[]"]).success();
    sandbox.wait_for_value("local-1", goes, &json!([]));
    let hung = sandbox.agent("local-3", "run").unwrap();
    hung.signal(Signal::STOP);
    for name in ["local-1", "local-2"] {
        sandbox.wait_for_status(name, "local-3", "failed");
    }
    sandbox.raptor_at("local-1", ["config", "set", stays, "[]"]).success();
    sandbox.raptor_at("local-2", ["config", "unset", goes]).success();
    sandbox
        .raptor_at("local-3", ["members"])
        .run()
        .status(1)
        .stderr_contains("no answer within 3 s\n");
    hung.signal(Signal::CONT);
    for name in ["local-1", "local-2"] {
        sandbox.wait_for_status(name, "local-3", "alive");
    }
    sandbox.wait_for_value("local-3", stays, &json!([]));
    for name in ["local-1", "local-2", "local-3"] {
        sandbox.wait_for_value(name, goes, &Value::Null);
    }
}
