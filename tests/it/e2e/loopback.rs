//! Through a real sshd on this computer.

use crate::support::run::Invocation;
use crate::support::sandbox::Sandbox;
use crate::support::sshd::Sshd;

/// Plain `ssh` into `sshd`, asking nothing.
fn ssh(sandbox: &Sandbox, sshd: &Sshd) -> Invocation {
    let known_hosts = format!("UserKnownHostsFile={}", sandbox.path().join("known").display());
    sandbox
        .program("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"])
        .args(["-o", &known_hosts, "-o", "IdentitiesOnly=yes", "-i"])
        .arg(sshd.identity_file())
        .args(["-p", &sshd.address.port().to_string()])
        .arg(format!("{}@{}", sshd.user, sshd.address.ip()))
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn the_harness_opens_refuses_and_impersonates() {
    let sandbox = Sandbox::new();
    let mut sshd = Sshd::start();
    ssh(&sandbox, &sshd).arg("echo in").success().stdout_is("in\n");
    sshd.change_host_key();
    ssh(&sandbox, &sshd)
        .arg("true")
        .run()
        .status(255)
        .stderr_contains("REMOTE HOST IDENTIFICATION HAS CHANGED");
    std::fs::remove_file(sandbox.path().join("known")).unwrap();
    sshd.forget_client_key();
    ssh(&sandbox, &sshd).arg("true").run().status(255).stderr_contains("Permission denied");
}
