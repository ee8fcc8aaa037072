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

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn backups_go_to_a_host_by_sftp() {
    let sandbox = Sandbox::new();
    let sshd = Sshd::start_with(&["Subsystem sftp internal-sftp"]);
    sandbox.spawn(1);
    let folder = sandbox.path().join("far/away");
    let (user, address) = (&sshd.user, sshd.address);
    let place = format!("sftp://{user}@{address}{}", folder.display());
    let key = format!("\"{}\"", sshd.identity_file().display());
    sandbox.raptor(["config", "set", "ssh.identity_file", &key]).success();
    for _ in 0..3 {
        let made = sandbox.raptor(["backup", &place, "--keep", "2"]).success();
        made.stdout_contains(" bytes, read back\n");
    }
    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names.len(), 3, "two and their list: {names:?}");
    // Read from there, it is opened: that it is refused is for the cluster that lives.
    let restore = sandbox.raptor(["restore", &place, "--identity"]).arg(sshd.identity_file());
    restore.run().status(1).stderr_contains("error: cluster default lives: 1 of 1 members answer");
    sshd.forget_client_key();
    let refused = sandbox.raptor(["backup", &place]).run().status(1);
    refused.stderr_contains("Permission denied");
}
