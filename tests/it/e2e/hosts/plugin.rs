//! Machines that a plug-in makes: the example that comes with raptor, over plain docker.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{WORK_LIMIT, configure, names};
use crate::support::docker::{LABEL, docker, image, run_name};
use crate::support::sandbox::Sandbox;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/raptor-provider-containers")
}

/// Arguments of `docker run` that tell this sandbox's containers from others, and those of this
/// run of the tests.
fn marks(sandbox: &Sandbox) -> [String; 2] {
    [format!("--label=lab={}", sandbox.path().display()), format!("--label={LABEL}={}", run_name())]
}

fn containers(sandbox: &Sandbox) -> String {
    let label = format!("label=lab={}", sandbox.path().display());
    docker(&["ps", "--all", "--quiet", "--filter", &label])
}

/// A user whose home has the plug-in.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let providers = sandbox.home().join("providers");
    fs::create_dir(&providers).unwrap();
    // `copy` keeps the mode.
    fs::copy(example(), providers.join("raptor-provider-containers")).unwrap();
    sandbox.destroys_on_drop();
    sandbox
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn the_example_keeps_all_promises() {
    let sandbox = sandbox();
    let file = sandbox.path().join("settings.json");
    let settings = json!({"image": image(), "arguments": marks(&sandbox)});
    fs::write(&file, settings.to_string()).unwrap();
    let test = ["provider", "test", "containers", "-o", "json", "--settings"];
    let run = sandbox.raptor(test).arg(&file).limit(WORK_LIMIT).success();
    let report = run.stdout_json();
    assert_eq!(report["conforms"], true, "{report}");
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 8, "{report}");
    assert!(run.stderr.contains("lets the keys in that it is given: ok\n"), "{run:?}");

    assert_eq!(containers(&sandbox), "", "containers are left");

    // One that lacks what it needs is told apart from one that works.
    fs::write(&file, "{}").unwrap();
    let run = sandbox.raptor(["provider", "test", "containers", "--settings"]).arg(&file).run();
    let run = run.status(1);
    assert!(run.stdout.contains("FAILED"), "{run:?}");
    assert!(run.stdout.contains("says: set `image` in the settings"), "{run:?}");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn machines_of_a_plug_in_live_and_go_and_only_the_pinned_program_is_run() {
    let sandbox = sandbox();
    let listed = sandbox.raptor(["provider", "ls", "-o", "json"]).success().stdout_json();
    assert_eq!(listed[0]["name"], "containers", "{listed}");
    assert_eq!(listed[0]["problem"], Value::Null, "{listed}");
    let configure_with = |sha256: &Value| {
        let lab = json!({
            "driver": "plugin", "provider": "containers", "sha256": sha256,
            "settings": {"image": image(), "arguments": marks(&sandbox)},
        });
        configure(&sandbox, &json!({"compute_types": {"lab": lab}}));
    };
    configure_with(&listed[0]["sha256"]);
    let checked = sandbox.raptor(["compute", "check", "lab"]).success();
    checked.stdout_contains("lab: containers 1, Docker ");
    let spawn = ["spawn", "--compute-type", "lab", "--count", "2"];
    sandbox.raptor(spawn).limit(WORK_LIMIT).success();
    let members = sandbox.wait_for_alive(2);
    assert_eq!(names(&members), ["lab-1", "lab-2"]);
    let ran = sandbox.raptor(["exec", "--", "hostname"]).success();
    ran.stdout_contains("lab-2: lab-2\n");
    // The host key came with the machine: nothing is accepted unseen.
    let told = sandbox.raptor(["ssh", "lab-1", "--info-only"]).success();
    told.stdout_contains("StrictHostKeyChecking=yes");

    configure_with(&json!("0".repeat(64)));
    let refused = sandbox.raptor(spawn).run().status(1);
    refused.stderr_contains("was pinned");
    configure_with(&listed[0]["sha256"]);
    sandbox.raptor(["destroy", "--all", "--yes"]).limit(WORK_LIMIT).success();
    assert_eq!(containers(&sandbox), "", "containers are left");
    sandbox.wait_for_silence();
}
