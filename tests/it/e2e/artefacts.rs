//! Files that all members keep for each other.

use std::fs;
use std::path::PathBuf;

use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

/// The artefacts' folder of each local machine.
fn folders(sandbox: &Sandbox) -> Vec<PathBuf> {
    let clusters = fs::read_dir(sandbox.home().join("machines")).unwrap();
    let visible = |path: &PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with('.');
    let paths = |folder: PathBuf| {
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path())
    };
    let machines = clusters.flat_map(|cluster| paths(cluster.unwrap().path()));
    let machines = machines.filter(|path| path.is_dir()).filter(visible);
    machines.map(|machine| machine.join("artefacts")).collect()
}

/// Waits until `count` machines keep the file `digest`; their contents.
fn wait_for(sandbox: &Sandbox, count: usize, digest: &str) -> Vec<Vec<u8>> {
    wait_until(CONVERGENCE_LIMIT, &format!("{count} that keep {digest}"), || {
        let files = folders(sandbox).into_iter().map(|folder| folder.join(digest));
        let kept: Vec<Vec<u8>> = files.filter_map(|file| fs::read(file).ok()).collect();
        if kept.len() == count { Ok(kept) } else { Err(kept.len()) }
    })
}

fn digest_of(sandbox: &Sandbox, name: &str) -> String {
    let rows = sandbox.raptor(["artefact", "ls", "-o", "json"]).success().stdout_json();
    let row = rows.as_array().unwrap().iter().find(|row| row["name"] == name).cloned();
    super::text(&row.unwrap_or_else(|| panic!("{rows}"))["sha256"])
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_file_reaches_all_members_and_those_that_come_later_from_whoever_is_left() {
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    // Larger than one piece, and nothing that repeats.
    let mut state = 7u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    let content: Vec<u8> = std::iter::repeat_with(next).take(3_000_001).collect();
    let file = sandbox.path().join("Data.bin");
    fs::write(&file, &content).unwrap();
    sandbox.raptor(["artefact", "add"]).arg(&file).success();
    let digest = digest_of(&sandbox, "data");
    assert!(wait_for(&sandbox, 2, &digest).iter().all(|kept| *kept == content));

    // Whoever was handed it is gone; one that comes has it all the same.
    sandbox.raptor(["spawn"]).success();
    wait_for(&sandbox, 3, &digest);
    sandbox.raptor(["destroy", "local-1", "--yes"]).success();
    sandbox.raptor(["spawn"]).success();
    sandbox.wait_for_alive(3);
    assert!(wait_for(&sandbox, 3, &digest).iter().all(|kept| *kept == content));
    let copy = sandbox.path().join("copy");
    sandbox.raptor(["artefact", "get", "data"]).arg(&copy).success();
    assert_eq!(fs::read(&copy).unwrap(), content);

    // A sealed one is read by no disk's owner, and by every member.
    fs::write(&file, "the combination is 7-9-1").unwrap();
    let sealed = ["artefact", "add", "--name", "safe", "--seal", "vault"];
    sandbox.raptor(sealed).arg(&file).success();
    let digest = digest_of(&sandbox, "safe");
    for kept in wait_for(&sandbox, 3, &digest) {
        assert!(!String::from_utf8_lossy(&kept).contains("combination"));
    }
    sandbox.raptor(["artefact", "get", "safe"]).arg(&copy).success();
    assert_eq!(fs::read_to_string(&copy).unwrap(), "the combination is 7-9-1");
    let own = sandbox.raptor(["secret", "ls"]).success();
    own.stdout_contains("vault");

    sandbox.raptor(["artefact", "rm", "data"]).success();
    let gone = sandbox.raptor(["artefact", "get", "data"]).arg(&copy).run().status(1);
    gone.stderr_contains("there is no artefact \"data\"").stderr_contains("there are: safe");
    let wrong = sandbox.raptor(["artefact", "add", "--target", "aarch64"]).arg("/bin/sh").run();
    wrong.status(1).stderr_contains("not for aarch64");
}
