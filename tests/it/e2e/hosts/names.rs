//! Members' names on a machine with systemd: found by its resolver, whichever that is, while the
//! agent runs.

use super::{CONVERGENCE_LIMIT, Site, names};
use crate::e2e::text;
use crate::support::container::Container;
use crate::support::wait::wait_until;

const ORIGINAL: &str = "# the machine's own\nnameserver 192.0.2.1\noptions timeout:1 attempts:1\n";

fn resolver(host: &Container, content: &str) {
    host.input(&["sh", "-c", "cat >/etc/resolv.conf"], content.as_bytes());
}

/// Waits until the machine's programs find `name`, and its address gives the name back.
fn wait_for_name(host: &Container, address: &str) {
    for name in ["box.raptor", "box.default.raptor"] {
        wait_until(CONVERGENCE_LIMIT, "an address for a name", || {
            let found = host.try_input(&["getent", "ahostsv6", name], b"");
            let found = String::from_utf8_lossy(&found.stdout).into_owned();
            if found.starts_with(&format!("{address} ")) { Ok(()) } else { Err(found) }
        });
    }
    let found = host.input(&["getent", "hosts", address], b"");
    assert!(found.contains(" box.raptor"), "{found}");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn systemd_resolved_and_resolv_conf_lead_to_the_agent_while_it_runs() {
    let site = Site::new();
    let device = ["--device", "/dev/net/tun"];
    let host = Container::start_systemd_with("box", &site.network, &site.key, &device);
    resolver(&host, "nameserver 127.0.0.53\n");
    host.sh("systemctl start systemd-resolved.service");
    site.slave(&[&site.destination(&host)]).success();
    let members = site.sandbox.wait_for_alive(1);
    assert_eq!(names(&members), ["box"]);
    let address = text(&members[0]["address"]);
    wait_for_name(&host, &address);
    let told = host.sh("resolvectl domain raptor0");
    assert!(told.ends_with(": ~raptor ~c.f.ip6.arpa\n"), "{told}");
    host.sh("systemctl stop raptor.service");
    let told = host.sh("resolvectl domain");
    assert!(!told.contains("raptor"), "{told}");

    // The unit is confined, and may write this one file all the same.
    host.sh("systemctl stop systemd-resolved.service");
    resolver(&host, ORIGINAL);
    host.sh("systemctl start raptor.service");
    wait_for_name(&host, &address);
    let wired = host.sh("cat /etc/resolv.conf");
    assert!(wired.ends_with(ORIGINAL) && wired.contains("\nnameserver 127.0.0.153\n"), "{wired}");
    host.sh("systemctl stop raptor.service");
    assert_eq!(host.sh("cat /etc/resolv.conf"), ORIGINAL);
}
