//! The harness's own proof: hosts, users, partitions.

use tempfile::TempDir;

use crate::support::container::{Container, Sudo};
use crate::support::docker::Network;
use crate::support::keys::KeyPair;
use crate::support::run::Invocation;
use crate::support::sandbox::Sandbox;

fn key() -> (TempDir, KeyPair) {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::create(folder.path(), "client");
    (folder, key)
}

/// Plain `ssh` as `user` to `host`, asking nothing.
fn ssh(sandbox: &Sandbox, user: &str, host: &Container, network: &Network) -> Invocation {
    sandbox
        .program("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
        .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-i"])
        .arg(host.identity_file())
        .arg(format!("{user}@{}", host.address(network)))
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn the_harness_makes_hosts_users_and_partitions() {
    let sandbox = Sandbox::new();
    let (_folder, key) = key();
    let network = Network::create();
    let one = Container::start("one", &network, &key);
    let two = Container::start("two", &network, &key);
    one.add_user("free", Sudo::Free);
    one.add_user("asked", Sudo::Password("open sesame"));
    one.add_user("refused", Sudo::Refused);

    ssh(&sandbox, "root", &one, &network).arg("hostname").success().stdout_is("one\n");
    ssh(&sandbox, "free", &one, &network).arg("sudo -n id -un").success().stdout_is("root\n");
    ssh(&sandbox, "asked", &one, &network).arg("sudo -n id -un").run().status(1);
    ssh(&sandbox, "asked", &one, &network)
        .arg("sudo -S -p '' id -un")
        .stdin("open sesame\n")
        .success()
        .stdout_is("root\n");
    ssh(&sandbox, "refused", &one, &network).arg("sudo -n id -un").run().status(1);

    let keys = |host: &Container| host.sh("cat /etc/ssh/ssh_host_ed25519_key.pub");
    assert_ne!(keys(&one), keys(&two), "hosts of one image share a host key");

    let address = two.address(&network);
    let reach = format!("timeout 1 bash -c 'exec 3<>/dev/tcp/{address}/22'");
    one.sh(&reach);
    two.disconnect(&network);
    assert!(!one.try_input(&["sh", "-c", &reach], b"").status.success(), "still reachable");
    two.connect(&network, Some(&address));
    one.sh(&reach);
    two.kill();
    assert!(!one.try_input(&["sh", "-c", &reach], b"").status.success(), "killed and reachable");
    two.boot();
}
