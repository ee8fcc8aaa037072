//! `join`: a machine makes itself a member.

use std::path::Path;

use super::{
    Site, assert_sound, members_seen_by, names, set_on, wait_for_agreement, wait_for_value,
};
use crate::support::container::Container;

fn put_raptor_on(host: &Container) {
    host.copy(Path::new(env!("CARGO_BIN_EXE_raptor")), "/usr/local/bin/raptor");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_machine_that_nobody_reaches_joins() {
    let site = Site::new();
    let member = site.host("member");
    let hidden =
        Container::start_with("hidden", &site.network, &site.key, &["--cap-add", "NET_ADMIN"]);
    site.slave(&[&site.destination(&member)]).success();
    put_raptor_on(&hidden);
    hidden.copy(&site.key.secret, "/root/.ssh/id_ed25519");
    hidden.sh("chmod 0600 /root/.ssh/id_ed25519
        iptables -A INPUT -i lo -j ACCEPT
        iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
        iptables -A INPUT -j DROP");
    let refused =
        member.try_input(&["ssh-keyscan", "-T", "2", &hidden.address(&site.network)], b"");
    assert_eq!(refused.stdout, b"", "it can be reached");
    hidden.input(&["raptor", "join", &site.destination(&member)], b"");
    let hosts = [&member, &hidden];
    wait_for_agreement(&hosts, 2);
    let run = member.input(&["raptor", "exec", "--", "hostname"], b"");
    assert!(run.contains("    hidden: hidden\n") && run.contains("2 / 2 node(s)"), "{run}");
    set_on(&member, "server_types.early.modules", &serde_json::json!([]));
    wait_for_value(&hidden, "server_types.early.modules", Some(&serde_json::json!([])));
    // The newcomer finds its way back by itself when the member was gone for a while.
    member.kill();
    member.boot();
    member.sh("/usr/local/lib/raptor/boot >/dev/null 2>&1");
    wait_for_agreement(&hosts, 2);
    assert_sound(&hosts);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_machine_joins_through_ssh_and_with_a_ticket() {
    let site = Site::new();
    let (member, through_ssh, invited) =
        (site.host("member"), site.host("through-ssh"), site.host("invited"));
    site.slave(&[&site.destination(&member)]).success();
    for host in [&through_ssh, &invited] {
        put_raptor_on(host);
    }
    through_ssh.copy(&site.key.secret, "/root/.ssh/id_ed25519");
    through_ssh.sh("chmod 0600 /root/.ssh/id_ed25519");
    through_ssh.input(&["raptor", "join", &site.destination(&member)], b"");

    let ticket = member.input(&["raptor", "-o", "json", "ticket", "create"], b"");
    let ticket: serde_json::Value = serde_json::from_str(&ticket).unwrap();
    let text = super::text(&ticket["ticket"]);
    invited.input(&["raptor", "join", "-"], format!("{text}\n").as_bytes());
    let hosts = [&member, &through_ssh, &invited];
    wait_for_agreement(&hosts, 3);
    let members = members_seen_by(&member).unwrap();
    assert_eq!(names(&members), ["invited", "member", "through-ssh"]);
    let run = site.sandbox.raptor(["exec", "--", "hostname"]).success();
    run.stdout_contains("    invited: invited\n")
        .stdout_contains("3 / 3 node(s) completed / acknowledged\n");

    // An invitation for one machine lets one in.
    let late = site.host("late");
    put_raptor_on(&late);
    let output = late.try_input(&["raptor", "join", "-"], format!("{text}\n").as_bytes());
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(names(&members_seen_by(&member).unwrap()), ["invited", "member", "through-ssh"]);
    assert_sound(&hosts);
}
