//! Real Consul servers on the mesh, and what becomes of them when most machines are lost.

use std::time::Duration;

use serde_json::json;

use super::{Site, configure};
use crate::support::container::Container;
use crate::support::wait::wait_until;

/// How long an installation from the distribution's archive may take on a busy computer.
const INSTALL_LIMIT: Duration = Duration::from_secs(240);

/// How long Consul may take to agree.
const AGREED: Duration = Duration::from_secs(90);

fn host(site: &Site, name: &str) -> Container {
    let rights = ["--cap-add", "NET_ADMIN", "--device", "/dev/net/tun"];
    Container::start_with(name, &site.network, &site.key, &rights)
}

fn told(host: &Container, command: &str) -> String {
    let output = host.try_input(&["sh", "-c", command], b"");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Waits until `count` servers choose a leader among them, and have one.
fn wait_for_servers(host: &Container, count: usize) {
    wait_until(AGREED, &format!("{count} servers with a leader, as {} sees it", host.name), || {
        let peers = told(host, "consul operator raft list-peers");
        let voters = peers.lines().filter(|line| line.contains(" true ")).count();
        if voters == count && peers.contains(" leader ") { Ok(()) } else { Err(peers) }
    });
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn consul_outlives_the_loss_of_most_of_its_servers() {
    let site = Site::new();
    let variables = json!({"raft_multiplier": 1, "recover_after_s": 5, "snapshot_s": 2});
    configure(&site.sandbox, &json!({"provision": {"variables": {"consul": variables}}}));
    let servers = ["one", "two", "three"].map(|name| host(&site, name));
    let (plain, spare) = (host(&site, "plain"), host(&site, "spare"));
    // What comes later is installed meanwhile.
    let spare_address = site.destination(&spare);
    let prepare = ["--server-type", "consul", "--no-join", &spare_address];
    let preparing = site.slave(&prepare).start();
    let addresses = servers.each_ref().map(|host| site.destination(host));
    let mut arguments = vec!["--server-type", "consul"];
    arguments.extend(addresses.iter().map(String::as_str));
    site.slave(&arguments).limit(INSTALL_LIMIT).success();
    site.slave(&[&site.destination(&plain)]).success();
    preparing.finish(INSTALL_LIMIT).success();

    let [one, two, three] = &servers;
    wait_for_servers(three, 3);
    let members = one.sh("consul members");
    assert_eq!(members.matches(" alive ").count(), 3, "{members}");
    let run = one.sh("consul exec cat /etc/os-release");
    assert_eq!(run.matches("PRETTY_NAME=").count(), 3, "{run}");
    assert!(run.contains("3 / 3 node(s) completed / acknowledged"), "{run}");
    one.sh("consul kv put motto 'one for all'");
    wait_until(AGREED, "the member without Consul in the catalog", || {
        let nodes = told(one, "consul catalog nodes -service raptor");
        if nodes.contains("plain") && nodes.contains("three") { Ok(()) } else { Err(nodes) }
    });

    // Two of three die: the last goes on with what they knew.
    two.kill();
    three.kill();
    wait_for_servers(one, 1);
    assert_eq!(one.sh("consul kv get motto"), "one for all\n");

    // A new server finds its way in.
    site.slave(&["--server-type", "consul", &spare_address]).limit(INSTALL_LIMIT).success();
    wait_for_servers(&spare, 2);
    assert_eq!(spare.sh("consul kv get -stale motto"), "one for all\n");
    let members = one.sh("consul members");
    assert!(!members.contains("two") && !members.contains("three"), "{members}");

    // What they hold is kept by a member that runs no Consul, and nobody reads it from its disk.
    let text = "one for all, kept by all";
    one.sh(&format!("consul kv put motto '{text}'"));
    wait_until(AGREED, "the snapshot on the member without Consul", || {
        let script = "raptor artefact get consul-raptor /tmp/snapshot &&
            tar -xzOf /tmp/snapshot state.bin | grep -aF 'kept by all'";
        let seen = told(&plain, script);
        if seen.contains(text) { Ok(()) } else { Err(seen) }
    });
    let kept = plain.sh("grep -raF 'kept by all' /var/lib/raptor/artefacts || echo sealed");
    assert_eq!(
        kept,
        "sealed
"
    );

    // All servers die; other machines, which know nothing, take their place.
    one.kill();
    spare.kill();
    for host in &servers {
        host.boot();
        host.sh("rm -rf /var/lib/raptor /var/lib/raptor-consul /usr/local/lib/raptor*");
    }
    site.slave(&arguments).limit(INSTALL_LIMIT).success();
    wait_for_servers(three, 3);
    wait_until(AGREED, "what the servers held before", || {
        let value = told(one, "consul kv get motto");
        if value
            == format!(
                "{text}
"
            )
        {
            Ok(())
        } else {
            Err(value)
        }
    });
}
