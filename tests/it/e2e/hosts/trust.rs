//! Hosts that lie about their key, and hosts that were somebody else before.

use super::{Site, assert_sound, names, text, traces};
use crate::support::container::Container;

/// What passes the host's `tr` comes out changed: what runs on a host is the host's.
fn make_lie(host: &Container, from: &str, to: &str) {
    host.sh("mv /usr/bin/tr /usr/bin/tr.honest");
    let script = format!("#!/bin/sh\n/usr/bin/tr.honest \"$@\" | sed 's/{from}/{to}/'\n");
    host.input(&["sh", "-c", "cat >/usr/bin/tr; chmod 0755 /usr/bin/tr"], script.as_bytes());
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_host_cannot_pass_itself_off_as_another_member() {
    let site = Site::new();
    let (honest, liar) = (site.host("honest"), site.host("liar"));
    site.slave(&[&site.destination(&honest)]).success();
    let member = site.sandbox.wait_for_alive(1).remove(0);
    let id = text(&member["id"]);
    make_lie(&liar, "\"node_id\": *\"[a-z0-9]*\"", &format!("\"node_id\":\"{id}\""));
    let run = site.slave(&[&site.destination(&liar)]).run().status(1);
    run.stderr_contains(&format!(
        "error: {}: enter the cluster: it does not prove that it holds the key {} it names\n",
        site.destination(&liar),
        &id[..8],
    ));
    let after = site.sandbox.wait_for_alive(1).remove(0);
    assert_eq!(after["endpoints"], member["endpoints"], "the member is looked for elsewhere");
    assert_sound(&[&honest]);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_copy_of_a_member_is_refused() {
    let site = Site::new();
    let (first, copy) = (site.host("first"), site.host("copy"));
    site.slave(&[&site.destination(&first)]).success();
    let key = first.sh("base64 /var/lib/raptor/agent/identity.key");
    copy.sh("install -d -m 0700 /var/lib/raptor /var/lib/raptor/agent");
    copy.input(
        &["sh", "-c", "umask 077; base64 -d >/var/lib/raptor/agent/identity.key"],
        key.as_bytes(),
    );
    let run = site.slave(&[&site.destination(&copy)]).run().status(1);
    run.stderr_contains("enter the cluster: copy has the key of the member first\n")
        .stderr_contains("hint: a copied disk? `raptor clean` on it makes it a machine of its own");
    assert_eq!(names(&site.sandbox.wait_for_alive(1)), ["first"]);
    assert_sound(&[&first]);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn host_keys_are_recorded_and_hold_for_every_member() {
    let site = Site::new();
    let (one, two) = (site.host("one"), site.host("two"));
    let (first, second) = (site.destination(&one), site.destination(&two));
    site.slave(&[&first, &second]).success();
    site.sandbox.wait_for_alive(2);
    // A member that never saw the host knows its key, and accepts no other.
    one.copy(&site.key.secret, "/root/.ssh/id_ed25519");
    one.sh("chmod 0600 /root/.ssh/id_ed25519");
    let way = one.sh("raptor ssh two --info-only");
    assert!(way.contains("StrictHostKeyChecking=yes"), "{way}");
    one.sh(&format!("raptor --yes slave --no-provision {second}"));
    assert_eq!(one.input(&["raptor", "-q", "ssh", "two", "--", "hostname"], b""), "two\n");
    two.sh("rm /etc/ssh/ssh_host_*; ssh-keygen -A >/dev/null; pkill -HUP -o sshd");
    one.sh("rm -f /var/lib/raptor/known_hosts");
    let refused = one.try_input(&["raptor", "--yes", "slave", "--no-provision", &second], b"");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        told.contains("the host key has changed: it is none of those that the cluster recorded"),
        "{told}"
    );
    let shell = one.try_input(&["raptor", "-q", "ssh", "two", "--", "hostname"], b"");
    assert!(!shell.status.success() && shell.stdout.is_empty(), "{shell:?}");

    // Installed anew: forgotten, and taken over again.
    site.sandbox.raptor(["--yes", "destroy", "two"]).success();
    site.slave(&[&second]).success();
    assert_eq!(names(&site.sandbox.wait_for_alive(2)), ["one", "two"]);
    assert_ne!(traces(&two), "");
    assert_sound(&[&one, &two]);
}
