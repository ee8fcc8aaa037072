//! Local machines in a folder of the test's own, with processes of the test's own.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::process::Command;

use super::*;
use crate::compute::conformance;
use crate::compute::conformance::spec;
use crate::compute::local::process::Process;
use crate::compute::local::supervisor::SupervisorRecord;

struct Place {
    _root: tempfile::TempDir,
    local: Local,
}

fn place() -> Place {
    let root = tempfile::tempdir().unwrap();
    let local = Local::new("local", &root.path().join("home/machines"));
    Place { _root: root, local }
}

fn home_of(machine: &Machine) -> PathBuf {
    match &machine.access {
        Some(Access::Local { home }) => home.clone(),
        other => panic!("{other:?}"),
    }
}

/// Runs `script` with the machine's home as `$0`, as the leader of a group, on the record.
fn start(machine: &Machine, script: &str) -> Child {
    let home = home_of(machine);
    let mut command = Command::new("/bin/sh");
    let child = command.arg("-c").arg(script).arg(&home).process_group(0).spawn().unwrap();
    let process = Process::read(i32::try_from(child.id()).unwrap()).unwrap();
    fs::create_dir_all(home.join("agent")).unwrap();
    let record =
        SupervisorRecord { version: 1, pid: process.pid, start_ticks: process.start_ticks };
    record.write(&home).unwrap();
    assert_eq!(SupervisorRecord::read(&home), Some(record));
    child
}

/// Waits until `home` holds the file that the script makes once it is ready.
async fn ready(home: &Path) {
    for _ in 0..1000 {
        if home.join("ready").exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the script did not start");
}

#[tokio::test]
async fn it_conforms() {
    let place = place();
    conformance::run(&place.local, Duration::from_millis(2)).await;
    // Nothing but the lock is left behind.
    let left: Vec<_> = fs::read_dir(&place.local.machines).unwrap().collect();
    assert_eq!(left.len(), 1);
}

#[tokio::test]
async fn a_machine_is_private_and_keeps_its_labels() {
    let place = place();
    let machine = place.local.create(&spec("web-1", 1, 1)).await.unwrap();
    let home = home_of(&machine);
    assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(Record::read(&home).unwrap().labels["zone"], "home");
    assert!(!machine.running);
}

#[tokio::test]
async fn a_name_is_one_machine() {
    let place = place();
    place.local.create(&spec("web-1", 1, 1)).await.unwrap();
    let error = place.local.create(&spec("web-1", 2, 1)).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::NameTaken { .. }), "{error:?}");
    assert_eq!(error.to_string(), "local: machine web-1: could not make its folder");
    let error = place.local.create(&spec("web-2", 1, 2)).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::NameTaken { .. }), "another cluster's intent: {error:?}");
}

#[tokio::test]
async fn destroying_ends_the_whole_group() {
    let place = place();
    let machine = place.local.create(&spec("web-1", 1, 1)).await.unwrap();
    let mut child = start(&machine, "sleep 600 & : >\"$0/ready\"; wait");
    ready(&home_of(&machine)).await;
    assert!(place.local.find(machine.intent).await.unwrap().unwrap().running);
    place.local.destroy(&machine).await.unwrap();
    assert!(process::group_members(i32::try_from(child.id()).unwrap()).is_empty());
    assert!(!home_of(&machine).exists());
    child.wait().unwrap();
}

#[tokio::test]
async fn who_does_not_listen_is_killed() {
    let place = place();
    let machine = place.local.create(&spec("web-1", 1, 1)).await.unwrap();
    let home = home_of(&machine);
    let script = "trap '' TERM; : >\"$0/ready\"; while :; do sleep 0.05; done";
    let mut child = start(&machine, script);
    ready(&home).await;
    supervisor::stop(&home, Duration::from_millis(100)).await.unwrap();
    assert!(!supervisor::is_running(&home));
    child.wait().unwrap();
}

#[tokio::test]
async fn an_agent_that_lost_its_supervisor_is_found_and_ended() {
    let place = place();
    let machine = place.local.create(&spec("web-1", 1, 1)).await.unwrap();
    let home = home_of(&machine);
    let script = "/bin/sh -c ': >\"$0/ready\"; sleep 600; :' \"$0\" & wait";
    let mut leader = start(&machine, script);
    ready(&home).await;
    leader.kill().unwrap();
    leader.wait().unwrap();
    assert!(supervisor::is_running(&home));
    place.local.destroy(&machine).await.unwrap();
    assert!(process::group_members(i32::try_from(leader.id()).unwrap()).is_empty());
}

#[tokio::test]
async fn a_process_that_was_given_an_old_id_is_left_alone() {
    let place = place();
    let machine = place.local.create(&spec("web-1", 1, 1)).await.unwrap();
    let mut stranger = start(&machine, "sleep 600 & wait");
    let home = home_of(&machine);
    let record = SupervisorRecord::read(&home).unwrap();
    SupervisorRecord { start_ticks: record.start_ticks + 1, ..record }.write(&home).unwrap();
    assert!(!supervisor::is_running(&home));
    place.local.destroy(&machine).await.unwrap();
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger was killed");
    let group = rustix::process::Pid::from_raw(record.pid).unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn links_and_strangers_are_no_machines() {
    let place = place();
    let machine = place.local.create(&spec("web-1", 1, 1)).await.unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::copy(home_of(&machine).join("machine.json"), outside.path().join("machine.json")).unwrap();
    let cluster = place.local.cluster_folder(machine.cluster);
    symlink(outside.path(), cluster.join("web-2")).unwrap();
    symlink(outside.path(), home_of(&machine).join("linked")).unwrap();
    fs::create_dir(cluster.join("notes")).unwrap();
    fs::create_dir(cluster.join("broken")).unwrap();
    fs::write(cluster.join("broken/machine.json"), "{").unwrap();

    assert_eq!(place.local.list(machine.cluster).await.unwrap(), std::slice::from_ref(&machine));
    place.local.destroy(&machine).await.unwrap();
    assert!(outside.path().join("machine.json").exists());
    assert!(cluster.join("notes").exists() && cluster.join("broken").exists());
}

#[tokio::test]
async fn what_a_crash_left_half_made_is_swept() {
    let place = place();
    let spec = spec("web-1", 1, 1);
    let cluster = place.local.cluster_folder(spec.cluster);
    for debris in [".new-x", ".gone-x"] {
        fs::create_dir_all(cluster.join(debris).join("inner")).unwrap();
    }
    assert_eq!(place.local.list(spec.cluster).await.unwrap(), []);
    place.local.create(&spec).await.unwrap();
    assert_eq!(fs::read_dir(&cluster).unwrap().count(), 1);
}
