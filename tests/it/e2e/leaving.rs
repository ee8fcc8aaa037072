//! Members that go: evicted, destroyed, pruned; and a computer that is cleaned.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::text;
use crate::support::sandbox::Sandbox;

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
    sandbox.spawn(4);
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
    crate::support::wait::wait_until(std::time::Duration::from_secs(10), "its agent's end", || {
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
