//! Networks that do not reach everybody, and networks that break.

use serde_json::json;

use super::{
    CONVERGENCE_LIMIT, Site, assert_sound, members_seen_by, names, set_on, value_on,
    wait_for_agreement, wait_for_value,
};
use crate::support::container::Container;
use crate::support::docker::Network;
use crate::support::wait::wait_until;

/// Runs a command on one member through the agent of another.
fn exec_through(host: &Container, node: &str, words: &str) -> String {
    let on = format!("name={node}");
    let output = host.try_input(&["raptor", "exec", "--on", &on, "--", "sh", "-c", words], b"");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_chain_is_one_cluster() {
    let site = Site::new();
    let far_network = Network::create();
    let near = site.host("near");
    let middle = site.host("middle");
    middle.connect(&far_network, None);
    let far = Container::start("far", &far_network, &site.key);
    // Docker lets no packet from one bridge into another; the test would prove nothing without.
    let reach = format!("timeout 1 bash -c 'exec 3<>/dev/tcp/{}/22'", far.address(&far_network));
    assert!(!near.try_input(&["sh", "-c", &reach], b"").status.success(), "near reaches far");

    let (a, b) = (site.destination(&near), site.destination(&middle));
    let c = format!("root@{}", far.address(&far_network));
    site.slave(&[&a, &b]).success();
    site.slave(&[&c]).success();
    let hosts = [&near, &middle, &far];
    wait_for_agreement(&hosts, 3);

    wait_until(CONVERGENCE_LIMIT, "near names the way to far", || {
        let members = members_seen_by(&near)?;
        let row = members.iter().find(|member| member["name"] == "far").ok_or("no far")?;
        if row["via"] == "middle" { Ok(()) } else { Err(row.to_string()) }
    });
    let wide = near.input(&["raptor", "members", "-o", "wide"], b"");
    let far_line = wide.lines().find(|line| line.starts_with("far ")).unwrap();
    assert!(far_line.contains(" middle "), "{wide}");
    assert!(exec_through(&near, "far", "hostname").contains("    far: far\n"));
    assert!(exec_through(&far, "near", "hostname").contains("    near: near\n"));
    set_on(&near, "server_types.one.modules", &json!([]));
    wait_for_value(&far, "server_types.one.modules", Some(&json!([])));
    // From a member that shares no network with it: ssh through the others.
    near.copy(&site.key.secret, "/root/.ssh/id_ed25519");
    near.sh("chmod 0600 /root/.ssh/id_ed25519");
    assert_eq!(near.input(&["raptor", "-q", "ssh", "far", "--", "hostname"], b""), "far\n");

    // The middle loses the far side, and gets it back.
    middle.disconnect(&far_network);
    wait_until(CONVERGENCE_LIMIT, "far is missed", || {
        let members = members_seen_by(&near)?;
        let status = |name: &str| {
            members.iter().find(|member| member["name"] == name).map(|row| row["status"].clone())
        };
        assert_eq!(status("middle"), Some(json!("alive")), "{members:?}");
        if status("far") == Some(json!("failed")) { Ok(()) } else { Err(format!("{members:?}")) }
    });
    set_on(&far, "server_types.two.modules", &json!([]));
    middle.connect(&far_network, None);
    wait_for_agreement(&hosts, 3);
    wait_for_value(&near, "server_types.two.modules", Some(&json!([])));
    assert_sound(&hosts);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_chain_is_taken_over_in_one_call_whatever_comes_first() {
    let site = Site::new();
    let far_network = Network::create();
    let (near, middle) = (site.host("near"), site.host("middle"));
    middle.connect(&far_network, None);
    let far = Container::start("far", &far_network, &site.key);
    let (a, b) = (site.destination(&near), site.destination(&middle));
    let c = format!("root@{}", far.address(&far_network));
    // One at a time, and the far one is told of the near one alone when it enters.
    site.slave(&["--concurrent", "1", &a, &c, &b]).success();
    wait_for_agreement(&[&near, &middle, &far], 3);
    assert_sound(&[&near, &middle, &far]);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_partitioned_pair_agrees_afterwards() {
    let site = Site::new();
    let (left, right) = (site.host("left"), site.host("right"));
    site.slave(&[&site.destination(&left), &site.destination(&right)]).success();
    let hosts = [&left, &right];
    wait_for_agreement(&hosts, 2);
    let path = |name: &str| format!("server_types.{name}.modules");
    for name in ["doomed", "shared"] {
        set_on(&left, &path(name), &json!([]));
        wait_for_value(&right, &path(name), Some(&json!([])));
    }

    let address = right.address(&site.network);
    right.disconnect(&site.network);
    for (host, other) in [(&left, "right"), (&right, "left")] {
        wait_until(CONVERGENCE_LIMIT, &format!("{} misses {other}", host.name), || {
            let members = members_seen_by(host)?;
            let failed =
                members.iter().any(|row| row["name"] == other && row["status"] == "failed");
            if failed { Ok(()) } else { Err(format!("{members:?}")) }
        });
    }
    set_on(&left, &path("left"), &json!([]));
    set_on(&right, &path("right"), &json!([]));
    left.input(&["raptor", "config", "unset", "server_types.doomed"], b"");
    set_on(&left, &path("shared"), &json!(["headless"]));
    set_on(&right, "server_types.both.modules", &json!([]));
    assert_eq!(value_on(&right, &path("left")), None, "they are not parted");

    right.connect(&site.network, Some(&address));
    wait_for_agreement(&hosts, 2);
    for host in hosts {
        for name in ["left", "right", "both"] {
            wait_for_value(host, &path(name), Some(&json!([])));
        }
        wait_for_value(host, &path("shared"), Some(&json!(["headless"])));
        wait_for_value(host, "server_types.doomed", None);
    }
    let documents: Vec<String> =
        hosts.iter().map(|host| host.input(&["raptor", "config", "export"], b"")).collect();
    assert_eq!(documents[0], documents[1]);
    assert_eq!(names(&members_seen_by(&left).unwrap()), ["left", "right"]);
    assert_sound(&hosts);
}
