//! Against the Docker engine of this machine: `./runtests.sh` brings one, and the image.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::process::Output;

use serde_json::json;

use super::*;
use crate::compute::conformance;
use crate::compute::conformance::fresh_cluster;
use crate::compute::conformance::fresh_spec;
use crate::model::machine::Access;

fn test_image() -> String {
    std::env::var("RAPTOR_TEST_IMAGE").unwrap_or_else(|_| {
        panic!(
            "RAPTOR_TEST_IMAGE is not set: run ./runtests.sh, or set it to what \
             tests/support/base-image.sh prints"
        )
    })
}

fn docker(settings: serde_json::Value) -> Docker {
    Docker::new("docker", serde_json::from_value(settings).unwrap())
}

fn shell_docker(arguments: &[&str]) -> Output {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {output:?}");
    output
}

/// A key pair in `folder`, and its public line.
fn key_in(folder: &Path) -> String {
    let key = folder.join("key");
    let arguments = ["-q", "-t", "ed25519", "-N", "", "-f"];
    let made = Command::new("ssh-keygen").args(arguments).arg(&key).status().unwrap();
    assert!(made.success());
    std::fs::read_to_string(key.with_extension("pub")).unwrap().trim().to_owned()
}

/// Logs in with strict checking of the host keys that the back-end gave.
fn ssh(folder: &Path, machine: &Machine, command: &str) -> Output {
    let Some(Access::Ssh { destination, host_keys, .. }) = &machine.access else { panic!() };
    let known: Vec<String> =
        host_keys.iter().map(|key| format!("{} {key}", destination.host)).collect();
    std::fs::write(folder.join("known_hosts"), known.join("\n") + "\n").unwrap();
    Command::new("ssh")
        .args(["-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-i"])
        .arg(folder.join("key"))
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", folder.join("known_hosts").display()))
        .args([destination.login().as_str(), command])
        .output()
        .unwrap()
}

#[tokio::test]
#[ignore = "needs Docker: run by ./runtests.sh"]
async fn it_conforms() {
    let docker = docker(json!({"image": test_image()}));
    conformance::run(&docker, Duration::from_millis(800)).await;
}

#[tokio::test]
#[ignore = "needs Docker: run by ./runtests.sh"]
async fn the_first_login_is_strict_and_a_restarted_machine_is_the_same_with_its_agent() {
    let folder = tempfile::tempdir().unwrap();
    let docker = docker(json!({"image": test_image()}));
    let cluster = fresh_cluster();
    let keys = vec![key_in(folder.path()), "ssh-ed25519 $(touch /x) `id` 'q' \"q\"".to_owned()];
    let specs = ["web-1", "web-2"]
        .map(|name| MachineSpec { authorized_keys: keys.clone(), ..fresh_spec(name, cluster) });
    let (one, two) = tokio::join!(docker.create(&specs[0]), docker.create(&specs[1]));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(one.running && two.running);
    let keys_of = |machine: &Machine| match &machine.access {
        Some(Access::Ssh { host_keys, .. }) => host_keys.clone(),
        other => panic!("{other:?}"),
    };
    assert_ne!(keys_of(&one), keys_of(&two), "one image must not mean one host key");

    let script = "hostname; cat /root/.ssh/authorized_keys; mkdir -p /usr/local/lib/raptor; \
        printf '#!/bin/sh\\n: >/agent-started\\n' >/usr/local/lib/raptor/boot; \
        chmod 0755 /usr/local/lib/raptor/boot";
    let output = ssh(folder.path(), &one, script);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("web-1\n{}\n", keys.join("\n")), "{output:?}");

    shell_docker(&["restart", "--time", "2", &one.id]);
    let back = docker.create(&specs[0]).await.unwrap();
    assert_eq!((&back.id, keys_of(&back)), (&one.id, keys_of(&one)));
    let output = ssh(folder.path(), &back, "ls /agent-started; cat /root/.ssh/authorized_keys");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("/agent-started\n{}\n", keys.join("\n")), "{output:?}");
    let label = ["inspect", "--format", "{{index .Config.Labels \"raptor.label.zone\"}}", &one.id];
    assert_eq!(shell_docker(&label).stdout, b"home\n");
    for machine in [one, two] {
        docker.destroy(&machine).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs Docker: run by ./runtests.sh"]
async fn a_container_that_was_made_and_not_started_is_taken_up() {
    let image = test_image();
    let docker = docker(json!({"image": image}));
    let spec = fresh_spec("web-1", fresh_cluster());
    let labels = container::labels_for(&spec);
    let name = container_name(spec.intent);
    let mut arguments = vec!["create", "--name", &name];
    arguments.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
    arguments.extend(["--entrypoint", "/bin/sh", &image, "-c", BOOT_SCRIPT]);
    shell_docker(&arguments);
    let found = docker.find(spec.intent).await.unwrap().unwrap();
    assert!(!found.running && found.access.is_none(), "{found:?}");
    let machine = docker.create(&spec).await.unwrap();
    assert!(machine.running && machine.id == found.id);
    docker.destroy(&machine).await.unwrap();
}

#[tokio::test]
#[ignore = "needs Docker: run by ./runtests.sh"]
async fn an_image_without_sshd_is_named_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dockerfile = folder.path().join("Dockerfile");
    let spec = fresh_spec("web-1", fresh_cluster());
    let text = format!("ARG BASE\nFROM ${{BASE}}\nRUN rm /usr/sbin/sshd # {}\n", spec.intent);
    std::fs::write(&dockerfile, text).unwrap();
    let docker = docker(json!({"base_image": test_image(), "dockerfile": dockerfile}));
    let error = docker.create(&spec).await.unwrap_err();
    let Cause::DidNotBoot { said } = &*error.cause else { panic!("{error:?}") };
    assert!(said.contains("this image has no sshd"), "{said}");
    assert_eq!(docker.list(spec.cluster).await.unwrap(), []);
    shell_docker(&["rmi", &docker.image.name().await.unwrap()]);
}

#[tokio::test]
#[ignore = "needs Docker: run by ./runtests.sh"]
async fn an_image_that_cannot_be_had_and_a_wrong_argument_are_named_and_leave_nothing() {
    let spec = fresh_spec("web-1", fresh_cluster());
    let missing = docker(json!({"image": "localhost:1/raptor-no-such-image:none"}));
    let error = missing.create(&spec).await.unwrap_err();
    let Cause::ImageUnavailable { image, .. } = &*error.cause else { panic!("{error:?}") };
    assert_eq!(image, "localhost:1/raptor-no-such-image:none");

    // The engine finds out after it made the container.
    let network = format!("raptor-no-such-network-{}", spec.intent);
    let wrong = docker(json!({"image": test_image(), "network": network}));
    let error = wrong.create(&spec).await.unwrap_err();
    assert!(error.cause.to_string().contains(&network), "{error:?}");
    assert_eq!(wrong.list(spec.cluster).await.unwrap(), []);
}

#[tokio::test]
#[ignore = "needs Docker: run by ./runtests.sh"]
async fn the_image_is_built_once_from_a_dockerfile() {
    let folder = tempfile::tempdir().unwrap();
    let dockerfile = folder.path().join("Dockerfile");
    let spec = fresh_spec("web-1", fresh_cluster());
    let text = format!("ARG BASE\nFROM ${{BASE}}\nLABEL raptor.test={}\n", spec.intent);
    std::fs::write(&dockerfile, text).unwrap();
    let docker = docker(json!({"base_image": test_image(), "dockerfile": dockerfile}));
    assert!(docker.check().await.unwrap().summary.ends_with("will be built"));
    let other = fresh_spec("web-2", spec.cluster);
    let (one, two) = tokio::join!(docker.create(&spec), docker.create(&other));
    assert!(docker.check().await.unwrap().summary.ends_with("is here"));
    for machine in [one.unwrap(), two.unwrap()] {
        docker.destroy(&machine).await.unwrap();
    }
    shell_docker(&["rmi", &docker.image.name().await.unwrap()]);
}

#[tokio::test]
#[ignore = "needs Docker: run by ./runtests.sh"]
async fn an_engine_that_does_not_answer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("docker");
    let nowhere = folder.path().join("docker.sock");
    let text = format!("#!/bin/sh\nexec docker --host unix://{} \"$@\"\n", nowhere.display());
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let docker = docker(json!({"program": program, "image": "any"}));
    let error = docker.check().await.unwrap_err();
    assert!(matches!(*error.cause, Cause::EngineUnreachable { .. }), "{error:?}");
    assert_eq!(error.to_string(), "docker: could not speak to the Docker engine");
}
