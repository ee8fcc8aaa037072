//! `slave` of hosts that fail: each is put back as it was, the others go on, the report is exact.

use std::fs;

use serde_json::json;

use super::{Site, assert_sound, configure, names, traces};
use crate::support::container::Container;
use crate::support::sandbox::Sandbox;

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn dead_and_refusing_hosts_do_not_keep_the_others() {
    let site = Site::new();
    let (closed, one, two) = (site.host("closed"), site.host("one"), site.host("two"));
    closed.sh(": >/root/.ssh/authorized_keys");
    let dead = format!("root@{}:1", one.address(&site.network));
    let shut = site.destination(&closed);
    // The first would found the cluster: another takes its place.
    let arguments =
        [&shut, &dead, "root@nowhere.invalid", &site.destination(&one), &site.destination(&two)];
    let run = site.slave(&arguments).run().status(3);
    run.stderr_contains(&format!(
        "error: {shut}: log in: the login was refused; the host accepts: publickey"
    ))
    .stderr_contains(&format!("error: {dead}: log in: the connection was refused ("))
    .stderr_contains(
        "error: root@nowhere.invalid: log in: the host name nowhere.invalid is not known\n",
    )
    .stdout_contains("\none ")
    .stdout_contains("\ntwo ");
    assert_eq!(names(&site.sandbox.wait_for_alive(2)), ["one", "two"]);
    assert_eq!(traces(&closed), "");

    let run = site.slave(&["-o", "json", &shut, &site.destination(&one)]).run().status(3);
    let outcomes = run.stdout_json();
    assert_eq!(outcomes[0]["machine"], shut.as_str());
    assert_eq!(outcomes[0]["step"], "log in");
    assert_eq!(outcomes[1]["error"], json!(null));
    assert_sound(&[&one, &two]);
}

/// A server type of one module whose last step fails.
fn write_failing_module(sandbox: &Sandbox) {
    let folder = sandbox.home().join("modules/provisioning/breaks");
    fs::create_dir_all(&folder).unwrap();
    let manifest = "kind = 'provisioning'\nname = 'breaks'\nversion = '1'\n\
        description = 'Leaves a file, then fails'\n\
        [[steps]]\nname = 'leave-a-file'\napply = 'apply.sh'\nundo = 'undo.sh'\n\
        [[steps]]\nname = 'fail'\napply = 'fail.sh'\n";
    for (name, content) in [
        ("module.toml", manifest),
        ("apply.sh", "echo made >\"$RAPTOR_ROOT/etc/made-by-a-test\"\n"),
        ("undo.sh", "rm -f \"$RAPTOR_ROOT/etc/made-by-a-test\"\n"),
        (
            "fail.sh",
            "test -e \"$RAPTOR_ROOT/etc/made-by-a-test\"\necho first; echo the reason >&2\nexit 7\n",
        ),
    ] {
        fs::write(folder.join(name), content).unwrap();
    }
    configure(sandbox, &json!({"server_types": {"broken": {"modules": ["breaks"]}}}));
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_failing_module_leaves_the_host_as_it_was() {
    let site = Site::new();
    write_failing_module(&site.sandbox);
    let (bad, good) = (site.host("bad"), site.host("good"));
    let before = bad.sh("find /etc /usr/local /root /home -xdev | sort");
    let inventory = site.sandbox.path().join("hosts.json");
    let hosts = json!([
        {"dst": site.destination(&bad), "server_type": "broken"},
        {"dst": site.destination(&good)},
    ]);
    fs::write(&inventory, hosts.to_string()).unwrap();
    let run = site.slave(&["--inventory", &inventory.display().to_string()]).run().status(3);
    run.stderr_contains(&format!(
        "error: {}: breaks/fail: it ended with status 7\n  exit status 7\n  | first\n  | the reason\n",
        site.destination(&bad)
    ))
    .stderr_contains("  undone: step breaks/leave-a-file\n")
    .stderr_contains("  undone: the program\n");
    assert_eq!(bad.sh("find /etc /usr/local /root /home -xdev | sort"), before);
    assert_eq!(traces(&bad), "");
    assert_eq!(names(&site.sandbox.wait_for_alive(1)), ["good"]);
    assert!(bad.sh("cat /var/log/raptor/provision.log").contains("the reason"));
    assert_sound(&[&good]);
}

fn start_with(site: &Site, name: &str, extra: &[&str]) -> Container {
    Container::start_with(name, &site.network, &site.key, extra)
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_full_disk_a_wrong_clock_and_noexec_are_named_before_anything_is_done() {
    let site = Site::new();
    let full = start_with(&site, "full", &["--tmpfs", "/usr/local:exec,size=16m"]);
    let barred = start_with(&site, "barred", &["--tmpfs", "/usr/local:noexec,size=900m"]);
    let late = site.host("late");
    late.sh("mv /usr/bin/date /usr/bin/date.real
        cat >/usr/bin/date <<'CLOCK'
#!/bin/sh
case $* in +%s) echo 1000000000 ;; *) exec date.real \"$@\" ;; esac
CLOCK
        chmod 0755 /usr/bin/date");
    let (a, b, c) = (site.destination(&full), site.destination(&barred), site.destination(&late));
    let run = site.slave(&[&a, &b, &c]).run().status(1);
    run.stderr_contains(&format!("error: {a}: checking: 16 MiB are free, 100 MiB are needed\n"))
        .stderr_contains(&format!(
            "error: {b}: checking: programs cannot be run from /usr/local/lib\n"
        ))
        .stderr_contains(&format!("error: {c}: checking: the clock is "))
        .stderr_contains("hint: set the machine's clock");
    for host in [&full, &barred, &late] {
        assert_eq!(traces(host), "");
    }
    // The check passes, and the disk fills while the program is copied.
    configure(&site.sandbox, &json!({"provision": {"free_disk_mb": 1}}));
    let run = site.slave(&[&a]).run().status(1);
    run.stderr_contains("the disk is full").stderr_contains("hint: make room on");
    assert_eq!(traces(&full), "");
    assert_eq!(full.sh("find /usr/local -type f"), "");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_changed_host_key_is_refused() {
    let site = Site::new();
    let (host, other) = (site.host("one"), site.host("other"));
    let destination = site.destination(&host);
    site.slave(&[&site.destination(&other), &destination]).success();
    // Installed anew, as far as anybody else can see: it makes new keys when it boots.
    host.sh("rm /etc/ssh/ssh_host_*");
    host.kill();
    host.boot();
    let run = site.slave(&[&destination]).run().status(1);
    run.stderr_contains("the host key has changed: it is none of those that the cluster recorded")
        .stderr_contains("somebody may be answering in place of one")
        .stderr_contains("`raptor destroy` on its name forgets the old keys");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_member_of_another_cluster_is_taken_by_force_alone() {
    let (first, second) = (Site::new(), Site::new());
    let host = first.host("one");
    let destination = first.destination(&host);
    first.slave(&[&destination]).success();
    let take = |extra: &[&str]| {
        let run = second.sandbox.raptor(["slave", "-i"]).arg(&first.key.secret);
        run.args(extra).arg(&destination).run()
    };
    take(&[])
        .status(1)
        .stderr_contains(": checking: it is a member of another cluster (")
        .stderr_contains("hint: give --force to take it from there");
    assert_eq!(names(&first.sandbox.wait_for_alive(1)), ["one"]);
    take(&["--force"]).status(0);
    assert_eq!(names(&second.sandbox.wait_for_alive(1)), ["one"]);
    first.sandbox.raptor(["members"]).run().status(1);
}
