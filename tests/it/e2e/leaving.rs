//! Members that go: evicted, destroyed, pruned; and a computer that is cleaned.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::text;
use crate::support::sandbox::Sandbox;
use crate::support::wait::wait_until;

fn names(sandbox: &Sandbox) -> BTreeSet<String> {
    sandbox.members().iter().map(|member| text(&member["name"])).collect()
}

/// Files of machines, the back-end's own lock left out.
fn machine_files(sandbox: &Sandbox) -> Vec<PathBuf> {
    let is_machines = |file: &PathBuf| file.starts_with("machines") && !file.ends_with(".lock");
    sandbox.files().into_iter().filter(is_machines).collect()
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn destroy_all_leaves_nothing() {
    let sandbox = Sandbox::new();
    sandbox.spawn(3);
    assert_eq!(sandbox.processes_with(&["agent"]).len(), 6, "{:?}", sandbox.processes());
    let unasked = sandbox.raptor(["destroy", "--all"]).run().status(1);
    unasked
        .stderr_contains("destroy local-1 on local (all were asked to go)\n")
        .stderr_contains("error: do these 6 steps? Nobody is there to say yes\n")
        .stderr_contains("  hint: add --yes, or set RAPTOR_YES=1\n");
    assert_eq!(names(&sandbox).len(), 3);

    sandbox.raptor(["destroy", "--all", "--yes"]).success();
    sandbox.wait_for_silence();
    assert_eq!(machine_files(&sandbox), Vec::<PathBuf>::new());
    let again = sandbox.raptor(["destroy", "--all", "--yes"]).run().status(1);
    again.stderr_contains("error: there is no cluster yet\n");
    // The home is as good as new.
    sandbox.spawn(1);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn destroy_takes_any_member_also_the_one_that_answers() {
    let sandbox = Sandbox::new();
    // Some of them have heard of nobody but the one that goes: it tells them before it does.
    sandbox.raptor(["spawn", "--count", "4"]).success();
    let status = || sandbox.raptor(["status", "-o", "json"]).success().stdout_json();
    for left in [3, 2] {
        let answering = text(&status()["name"]);
        sandbox.raptor(["destroy", &answering, "--yes"]).success();
        sandbox.wait_for_alive(left);
        assert!(!names(&sandbox).contains(&answering));
    }
    // By the beginning of an id, too.
    let id = text(&sandbox.members()[1]["id"]);
    sandbox.raptor(["destroy", &id[..12], "--yes"]).success();
    let last = text(&sandbox.wait_for_alive(1)[0]["name"]);
    sandbox.raptor(["destroy", &last, "--yes"]).success();
    sandbox.wait_for_silence();
    assert_eq!(machine_files(&sandbox), Vec::<PathBuf>::new());
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn an_evicted_machine_stays_and_its_agent_ends() {
    let sandbox = Sandbox::new();
    sandbox.spawn(3);
    sandbox
        .raptor(["evict", "local-3"])
        .run()
        .status(1)
        .stderr_contains("error: evict local-3 from default? Nobody is there to say yes\n");
    sandbox.raptor(["evict", "local-3", "--yes"]).success();
    sandbox.wait_for_alive(2);
    let home = sandbox.machine("local-3");
    wait_until(std::time::Duration::from_secs(10), "its agent's end", || {
        let left = sandbox.processes_with(&[&home.display().to_string()]);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    let again = sandbox.raptor(["--home", home.to_str().unwrap(), "agent", "run"]).run();
    again.status(78).stderr_contains("error: this machine was put out of cluster default\n");
    // The machine is given back all the same.
    sandbox.raptor(["destroy", "local-3", "--yes"]).success();
    assert!(!home.exists());
    assert_eq!(names(&sandbox).len(), 2);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn the_dead_are_pruned() {
    let sandbox = Sandbox::new();
    sandbox.spawn(3);
    sandbox.agent("local-2", "supervise").unwrap().kill();
    sandbox.agent("local-2", "run").unwrap().kill();
    // One that died just now is not dead yet.
    let early = sandbox.raptor(["prune", "--yes"]).success();
    assert_eq!(early.stderr, "nothing to do\n");
    sandbox.wait_for_status("local-1", "local-2", "failed");
    sandbox
        .raptor_at("local-1", ["status"])
        .success()
        .stdout_contains("problem: local-2 failed: nobody reaches it\n");
    sandbox
        .raptor(["prune", "--dry-run"])
        .success()
        .stdout_is("evict local-2 (failed)\ndestroy local-2 on local (failed)\n");
    let home = sandbox.machine("local-2");
    sandbox.raptor(["prune", "--yes"]).success();
    sandbox.wait_for_alive(2);
    assert!(!home.exists());
    assert_eq!(sandbox.raptor(["prune", "--yes"]).success().stderr, "nothing to do\n");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn clean_removes_every_trace_and_nothing_else() {
    let sandbox = Sandbox::new();
    let nothing = sandbox.raptor(["clean", "--yes"]).success();
    assert!(nothing.stderr.starts_with("nothing of raptor's is in "), "{nothing:?}");
    sandbox.raptor(["config", "set", "mesh.rings", "4"]).success();
    sandbox.spawn(2);
    fs::write(sandbox.home().join("diary.txt"), "mine").unwrap();
    sandbox.raptor(["clean", "--yes"]).success();
    sandbox.wait_for_silence();
    assert_eq!(sandbox.files(), BTreeSet::from([PathBuf::from("diary.txt")]));
}

/// Lets what the document says at `paths` be long ago; written as the performer writes.
pub(super) fn make_old(sandbox: &Sandbox, name: &str, paths: &[String]) {
    let old = |path: &String| serde_json::json!({"change": "set", "path": path, "value": "2020-01-01T00:00:00Z"});
    let changes: Vec<_> = paths.iter().map(old).collect();
    let change = serde_json::json!({"note": "long ago", "changes": changes}).to_string();
    ask(sandbox, name, "POST", &change).unwrap();
}

/// What the agent of the machine `name` answers about its document, machines and members included.
fn ask(sandbox: &Sandbox, name: &str, method: &str, body: &str) -> Result<String, String> {
    use std::io::{Read as _, Write as _};
    let socket = sandbox.machine(name).join("agent/agent.sock");
    let mut stream = std::os::unix::net::UnixStream::connect(socket).map_err(|e| e.to_string())?;
    let length = body.len();
    write!(
        stream,
        "{method} /v1/document HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(answer),
    }
}

/// Where the document of `local-1` says when the machine `name` was made and admitted. Killed early
/// it is a wish, killed late it is a member, too, that nobody ever saw.
pub(super) fn times_of(sandbox: &Sandbox, name: &str) -> Result<Vec<String>, String> {
    // The agent is asked: the file that it keeps beside it is written a moment later.
    let text = ask(sandbox, "local-1", "GET", "")?;
    let document: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let times: Vec<String> = [("machines", "created_at"), ("members", "added_at")]
        .into_iter()
        .flat_map(|(section, time)| {
            let records = document[section].as_object().into_iter().flatten();
            let ours = records.filter(|(_, record)| record["name"] == name);
            ours.map(move |(key, _)| format!("{section}.{key}.{time}"))
        })
        .collect();
    if times.is_empty() { Err(text) } else { Ok(times) }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn what_a_killed_spawn_left_is_pruned() {
    let sandbox = Sandbox::new();
    sandbox.spawn(1);
    let homes = || {
        let clusters = std::fs::read_dir(sandbox.home().join("machines")).unwrap();
        let clusters = clusters.map(|cluster| cluster.unwrap().path()).filter(|path| path.is_dir());
        let homes = clusters.flat_map(|cluster| std::fs::read_dir(cluster).unwrap());
        // One that is still being made is hidden, and swept away with the next change.
        let is_home = |path: &PathBuf| {
            let is_hidden = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
            path.is_dir() && !is_hidden
        };
        homes.map(|home| home.unwrap().path()).filter(is_home).count()
    };
    let running = sandbox.raptor(["spawn"]).start();
    wait_until(std::time::Duration::from_secs(60), "a second machine", || {
        if homes() == 2 { Ok(()) } else { Err("none yet") }
    });
    running.signal(rustix::process::Signal::KILL);
    running.finish(std::time::Duration::from_secs(20)).status(-9);
    let agents = sandbox.processes_with(&["local-2", "agent"]);
    agents.iter().for_each(crate::support::process::Process::kill);

    wait_until(std::time::Duration::from_secs(20), "the wish", || times_of(&sandbox, "local-2"));
    // A machine that is only just being made is left alone.
    sandbox.raptor(["prune", "--yes"]).success();
    assert_eq!(homes(), 2);
    // The agent may still be writing what the dead command asked of it: what is young then is old
    // in the next round.
    wait_until(std::time::Duration::from_secs(20), "nothing left of it", || {
        make_old(&sandbox, "local-1", &times_of(&sandbox, "local-2")?);
        sandbox.raptor(["prune", "--yes"]).success();
        if homes() == 1 { Ok(()) } else { Err("its folder is there") }.map_err(str::to_owned)
    });
    sandbox.wait_for_alive(1);
    sandbox.raptor(["members", "--rejoin"]).success().stdout_contains("local-1 ");
}
