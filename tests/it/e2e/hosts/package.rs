//! `raptor package`: an image with everything but what makes a machine itself.

use std::fs;

use serde_json::json;

use super::killed::kill_at;
use super::{WORK_LIMIT, configure};
use crate::support::docker::{docker, try_docker};
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

/// An image that is removed when the test ends.
struct Packaged(String);

impl Drop for Packaged {
    fn drop(&mut self) {
        let removed = try_docker(&["rmi", "--force", &self.0]);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn machines_of_a_package_have_all_but_an_identity_in_common() {
    // Removed last, when no machine uses it any more.
    let image = Packaged(format!("raptor-test-package:{}", std::process::id()));
    let sandbox = Sandbox::new();
    sandbox.destroys_on_drop();
    let module = sandbox.home().join("modules/provisioning/counter");
    fs::create_dir_all(&module).unwrap();
    let manifest = "kind = \"provisioning\"\nname = \"counter\"\n[[steps]]\nname = \"count\"\n\
                    apply = { inline = \"echo counted >>/etc/counted\" }\n";
    fs::write(module.join("module.toml"), manifest).unwrap();
    configure(&sandbox, &json!({}));
    let package = ["package", "--compute-type", "docker", "--server-type", "counter", "--image"];
    let made = sandbox.raptor(package).arg(&image.0).limit(WORK_LIMIT).success();
    made.stdout_is(&format!("{}\n", image.0));
    let kept = docker(&["inspect", "--format", "{{json .Config}}", &image.0]);
    assert!(!kept.contains("ssh-ed25519"), "{kept}");
    let run = |script: &str| docker(&["run", "--rm", &image.0, "sh", "-c", script]);
    assert_eq!(
        run("cat /etc/counted; ls /etc/ssh/ssh_host_* /root/.ssh/* 2>/dev/null || true"),
        "counted"
    );
    let machines = docker(&["ps", "--all", "--quiet", "--filter", "label=raptor.name=package"]);
    assert_eq!(machines, "", "the machine was left");

    let docker_type = json!({"docker": {"driver": "docker", "image": &image.0}});
    configure(&sandbox, &json!({"compute_types": docker_type}));
    let spawn = ["spawn", "--compute-type", "docker", "--server-type", "counter", "--count", "2"];
    sandbox.raptor(spawn).limit(WORK_LIMIT).success();
    let members = sandbox.wait_for_alive(2);
    assert_ne!(members[0]["id"], members[1]["id"]);
    let told = |words: &str| {
        let run = sandbox.raptor(["-o", "json", "exec", "--", "sh", "-c", words]).success();
        let lines = run.stdout_json_lines();
        let mut told: Vec<String> = lines.iter().map(|line| super::text(&line["stdout"])).collect();
        told.sort();
        told
    };
    assert_eq!(told("cat /etc/counted"), ["counted\n", "counted\n"], "it was done again");
    let keys = told("cat /etc/ssh/ssh_host_ed25519_key.pub");
    assert_ne!(keys[0], keys[1]);
    // Who spawned and the members themselves may log in, and nobody else who packed it.
    wait_until(CONVERGENCE_LIMIT, "two keys", || {
        let counts = told("wc -l </root/.ssh/authorized_keys");
        if counts == ["2\n", "2\n"] { Ok(()) } else { Err(format!("{counts:?}")) }
    });
    let keys = told("sort /root/.ssh/authorized_keys");
    assert_eq!(keys[0], keys[1]);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn what_a_killed_package_left_is_given_back() {
    let sandbox = Sandbox::new();
    sandbox.destroys_on_drop();
    configure(&sandbox, &json!({}));
    let words = ["package", "--compute-type", "docker", "--image", "raptor-test-never"];
    kill_at(&sandbox, &words, "copying raptor", WORK_LIMIT);
    let notes = || fs::read_dir(sandbox.home().join("passing")).unwrap().flatten();
    let note = notes().next().unwrap().path();
    let filter = format!("label=raptor.intent={}", note.file_stem().unwrap().to_str().unwrap());
    let machines = || docker(&["ps", "--all", "--quiet", "--filter", &filter]);
    assert_ne!(machines(), "");
    sandbox.raptor(["prune", "--dry-run"]).success().stderr_contains("to give back: 1 machine");
    assert_ne!(machines(), "");
    sandbox.raptor(["prune", "--yes"]).limit(WORK_LIMIT).success();
    assert_eq!(machines(), "", "the machine was left");
    assert_eq!(notes().count(), 0);
}
