//! `raptor backup` and `raptor restore`: from a file and a key alone, the same cluster.

use std::fs;
use std::path::Path;
use std::time::Duration;

use raptor::backup::archive::Archive;
use raptor::seal::key::Identity;
use serde_json::Value;
use serde_json::json;

use crate::support::sandbox::Sandbox;
use crate::support::wait::wait_until;

const MENDED: Duration = Duration::from_secs(60);

fn status(sandbox: &Sandbox) -> Value {
    sandbox.raptor(["status", "-o", "json"]).success().stdout_json()
}

fn archives(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".raptor"));
    names.sort();
    names
}

/// The machines go, and all that this user knows; without the key nothing comes back.
fn lose_everything(sandbox: &Sandbox, place: &str) {
    sandbox.raptor(["destroy", "--all", "--yes"]).success();
    sandbox.raptor(["clean", "--yes"]).success();
    sandbox.wait_for_silence();
    assert!(!sandbox.home().exists(), "{:?}", sandbox.files());

    let none = sandbox.raptor(["restore", place]).run().status(1);
    none.stderr_contains("error: there is no recovery key at ");
    let wrong = sandbox.path().join("wrong.key");
    let other = Sandbox::new();
    other.spawn(1);
    let other_key = other.raptor(["secret", "recovery"]).success().stdout.trim().to_owned();
    fs::copy(other_key, &wrong).unwrap();
    let refused = sandbox.raptor(["restore", place, "--key", wrong.to_str().unwrap()]).run();
    refused.status(1).stderr_contains("this recovery key does not open it");
    drop(other);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_cluster_comes_back_from_a_file_and_a_key() {
    let sandbox = Sandbox::new();
    sandbox.spawn(3);
    sandbox.raptor(["config", "set", "user.motto", "\"kept\""]).success();
    sandbox.raptor(["secret", "set", "token"]).stdin("open sesame").success();
    sandbox.raptor(["scale", "3"]).success();
    let before = status(&sandbox);
    let folder = sandbox.path().join("backups");
    let place = folder.to_str().unwrap();
    sandbox.raptor(["backup", place, "--dry-run"]).success().stdout_contains("write a backup to ");
    assert!(!folder.exists());
    for _ in 0..3 {
        let made = sandbox.raptor(["backup", place, "--keep", "2"]).success();
        made.stdout_contains(" bytes, read back\n");
    }
    assert_eq!(archives(&folder).len(), 2, "as many as are to be kept");
    let content = fs::read(folder.join(&archives(&folder)[1])).unwrap();
    for needle in [&b"sesame"[..], b"motto", b"local-1"] {
        assert!(!content.windows(needle.len()).any(|window| window == needle));
    }
    // One place of two fails.
    let taken = sandbox.path().join("file");
    fs::write(&taken, "x").unwrap();
    let blocked = taken.join("below");
    let some = sandbox.raptor(["backup", place, blocked.to_str().unwrap()]).run().status(3);
    some.stderr_contains("error: ").stderr_contains("Not a directory");

    let key = sandbox.raptor(["secret", "recovery"]).success().stdout.trim().to_owned();
    let kept = sandbox.path().join("kept.key");
    fs::copy(&key, &kept).unwrap();
    let restore = ["restore", place, "--key", kept.to_str().unwrap()];
    let alive = sandbox.raptor(restore).run().status(1);
    alive.stderr_contains("error: cluster default lives: 3 of 3 members answer; ");

    lose_everything(&sandbox, place);
    let told = sandbox.raptor(restore).arg("--dry-run").success();
    told.stdout_contains("found cluster default (");
    assert!(!sandbox.home().exists(), "a dry run leaves nothing");
    sandbox.raptor(restore).limit(MENDED).success();
    let after = status(&sandbox);
    assert_eq!(after["cluster_id"], before["cluster_id"]);
    assert_ne!(after["node"], before["node"]);
    // Its rule makes the others.
    sandbox.wait_for_alive(3);
    let motto = sandbox.raptor(["config", "get", "user.motto"]).success();
    motto.stdout_is("\"kept\"\n");
    wait_until(MENDED, "the secret is sealed to all", || {
        let rows = sandbox.raptor(["secret", "ls", "-o", "json"]).success().stdout_json();
        let held = rows[0]["holders"].as_array().map(Vec::len);
        if held == Some(3) && rows[0]["recoverable"] == true {
            Ok(())
        } else {
            Err(rows.to_string())
        }
    });
    let rows = sandbox.raptor(["secret", "ls", "-o", "json"]).success().stdout_json();
    assert_eq!(rows[0]["rotate"].as_array().unwrap().len(), 3, "who held it may know it: {rows}");

    // What lives is not overwritten, unless that is asked for.
    sandbox.raptor(["config", "set", "user.motto", "\"newer\""]).success();
    sandbox.raptor(["restore", place]).run().status(1).stderr_contains("lives: 3 of 3");
    sandbox.raptor(["restore", place, "--force"]).success();
    sandbox.raptor(["config", "get", "user.motto"]).success().stdout_is("\"kept\"\n");
    assert_eq!(sandbox.wait_for_alive(3).len(), 3);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn members_make_backups_by_themselves_and_tampering_is_noticed() {
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    let folder = sandbox.path().join("backups");
    let backup = json!({"every_ms": 1000, "keep": 2, "targets": {"here": {"url": folder}}});
    sandbox.raptor(["config", "set", "backup", &backup.to_string()]).success();
    wait_until(MENDED, "two backups", || {
        let count = if folder.exists() { archives(&folder).len() } else { 0 };
        if count >= 2 { Ok(()) } else { Err(count) }
    });
    sandbox.raptor(["config", "unset", "backup"]).success();
    let status = status(&sandbox);
    assert_eq!(status["problems"], json!([]));
    let latest = archives(&folder).pop().unwrap();
    let path = folder.join(&latest);
    let sound = fs::read(&path).unwrap();
    let tell = |bytes: &[u8]| {
        let copy = sandbox.path().join("copy.raptor");
        fs::write(&copy, bytes).unwrap();
        let run = sandbox.raptor(["restore", copy.to_str().unwrap()]).run();
        run.status(1).stderr.clone()
    };
    let mut altered = sound.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert!(tell(&altered).contains("it was altered or cut short"));
    assert!(tell(&sound[..sound.len() / 2]).contains("it was altered or cut short"));
    altered.clone_from(&sound);
    altered[8] = 9;
    assert!(tell(&altered).contains("it has format version 9; this build reads version"));
    assert!(tell(b"something else").contains("it is no backup of raptor"));
    assert!(tell(&sound).contains("lives: 2 of 2"), "made by a member, and proven");
    // Sealed again by somebody who knows the public half of the recovery key alone.
    let key = sandbox.raptor(["secret", "recovery"]).success().stdout.trim().to_owned();
    let key = Identity::from_file(&fs::read_to_string(key).unwrap()).unwrap();
    let (mut archive, _) = Archive::open(&sound, &key).unwrap();
    archive.content.document["config"] = json!({"hooks": {"evil": {"command": "true"}}});
    let forged = archive.seal(&[key.recipient()], None, &[7; 32]).unwrap();
    let told = tell(&forged);
    assert!(told.contains("nothing proves that a member of default made it"), "{told}");
}
