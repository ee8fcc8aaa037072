//! Members whose agents are down, cannot be entered, or have no room: told as they are, and repaired.

use serde_json::json;

use super::{Site, assert_sound, names, set_on, value_on, wait_for_agreement};
use crate::support::container::{Container, Sudo};

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_sole_member_whose_agent_is_dead_is_repaired_by_slave() {
    let site = Site::new();
    let host = site.host("one");
    let destination = site.destination(&host);
    site.slave(&["--label", "zone=home", &destination]).success();
    let before = site.sandbox.wait_for_alive(1);
    host.sh("pkill -9 -f 'agent (run|supervise)'");
    site.sandbox.raptor(["members"]).run().status(1).stderr_contains("no agent answers");
    let run = site.slave(&["--dry-run", &destination]).run().status(1);
    run.stderr_contains("no agent answers");
    site.slave(&[&destination]).success().stderr_contains("no member answers; starting its agent");
    let after = site.sandbox.wait_for_alive(1);
    assert_eq!(after[0]["id"], before[0]["id"]);
    assert_eq!(after[0]["labels"], json!({"zone": "home"}), "it forgot what it was");
    assert_sound(&[&host]);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_sole_member_behind_a_sudo_password_answers_who_gives_it() {
    let site = Site::new();
    let host = site.host("asked");
    host.add_user("bob", Sudo::Password("open sesame"));
    let bob = format!("bob@{}", host.address(&site.network));
    site.slave(&["--ask-sudo-pass", &bob]).stdin("open sesame\n").success();
    site.sandbox
        .raptor(["members"])
        .run()
        .status(1)
        .stderr_contains("sudo needs a password")
        .stderr_contains("give --ask-sudo-pass");
    let run = site.sandbox.raptor(["members", "--ask-sudo-pass"]).stdin("open sesame\n").success();
    run.stdout_contains("asked ");
    assert_sound(&[&host]);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_member_whose_disk_is_full_says_so_and_goes_on_when_there_is_room() {
    let site = Site::new();
    let small = ["--tmpfs", "/var/lib/raptor:exec,size=24m"];
    let full = Container::start_with("full", &site.network, &site.key, &small);
    let other = site.host("other");
    site.slave(&[&site.destination(&full), &site.destination(&other)]).success();
    let hosts = [&full, &other];
    wait_for_agreement(&hosts, 2);
    set_on(&full, "server_types.early.modules", &json!([]));
    full.sh("cat /dev/zero >/var/lib/raptor/fill 2>/dev/null || true");
    let large = format!("\"{}\"", "x".repeat(100_000));
    let words = ["raptor", "config", "set", "user.note", &large];
    let refused = full.try_input(&words, b"");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("No space left"), "{told}");
    // It lives, says what is wrong, and the others go on.
    let status = full.try_input(&["raptor", "status"], b"");
    let told = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(told.contains("not on disk"), "{told}");
    set_on(&other, "server_types.meanwhile.modules", &json!([]));
    full.sh("rm /var/lib/raptor/fill");
    set_on(&full, "server_types.late.modules", &json!([]));
    for host in hosts {
        for name in ["early", "meanwhile", "late"] {
            let path = format!("server_types.{name}.modules");
            super::wait_for_value(host, &path, Some(&json!([])));
        }
    }
    full.sh("pkill -9 -f 'agent run'");
    wait_for_agreement(&hosts, 2);
    assert_eq!(value_on(&full, "server_types.late.modules"), Some(json!([])));
    assert_eq!(names(&site.sandbox.wait_for_alive(2)), ["full", "other"]);
}
