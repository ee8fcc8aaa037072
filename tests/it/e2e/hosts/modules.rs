//! The bundled modules on machines that packages can be had for, and one of a user's.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{Site, WORK_LIMIT, configure};
use crate::support::container::{Container, NESTING_RIGHTS};
use crate::support::wait::wait_until;

/// How long a machine that lets nothing in is given to answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

fn lets_in(site: &Site, host: &Container, port: u16) -> bool {
    let address = SocketAddr::new(host.address(&site.network).parse().unwrap(), port);
    TcpStream::connect_timeout(&address, CONNECT_LIMIT).is_ok()
}

fn rules(host: &Container) -> String {
    host.sh("nft list table inet raptor 2>/dev/null || true")
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn bundled_modules_make_a_machine_what_they_say() {
    let site = Site::new();
    let with = |firewall: serde_json::Value| {
        let modules = ["headless", "firewall", "hardening", "unattended-upgrades", "monitoring"];
        let extra = json!({
            "server_types": {"guarded": {"modules": modules, "variables": {"firewall": firewall}}},
            "provision": {"variables": {"hardening": {"max_auth_tries": 3}}},
        });
        configure(&site.sandbox, &extra);
    };
    with(json!({"tcp_ports": ["8080"], "rollback_s": 60}));
    let tunnel = ["--device", "/dev/net/tun"];
    let host = Container::start_systemd_with("box", &site.network, &site.key, &tunnel);
    let slave = || site.slave(&["--server-type", "guarded", &site.destination(&host)]);
    slave().success().stderr_contains("connecting anew");
    site.sandbox.wait_for_alive(1);

    // The firewall: what is open, and nothing else; also after a boot.
    host.sh("for port in 8080 8081; do
                 systemd-run --quiet python3 -m http.server --bind 0.0.0.0 \"$port\"
             done
             until [ \"$(ss -Hltn | grep -c ':808[01] ')\" = 2 ]; do sleep 0.1; done");
    assert!(lets_in(&site, &host, 22) && lets_in(&site, &host, 8080), "{}", rules(&host));
    assert!(!lets_in(&site, &host, 8081), "{}", rules(&host));
    host.sh("systemctl is-enabled --quiet raptor-firewall.service
             nft delete table inet raptor; systemctl start raptor-firewall.service");
    assert!(!lets_in(&site, &host, 8081), "{}", rules(&host));

    // The others.
    let sshd = host.sh("sshd -T");
    assert!(
        sshd.contains("passwordauthentication no") && sshd.contains("maxauthtries 3"),
        "{sshd}"
    );
    host.sh("systemctl is-enabled --quiet apt-daily-upgrade.timer
             apt-config dump | grep -q 'Unattended-Upgrade::Automatic-Reboot \"false\"'");
    let address =
        host.sh("raptor members -o json | sed -n 's/.*\"address\": *\"\\([^\"]*\\)\".*/\\1/p'");
    let listening = host.sh("ss -Hltn 'sport = :9100'");
    assert!(listening.contains(&format!("[{}]:9100", address.trim())), "{listening} {address}");

    // Again: each module is passed over.
    let again = slave().success();
    assert!(!again.stderr.contains("connecting anew"), "{again:?}");

    // Rules that lock us out, and whoever set them dies: those before come back by themselves.
    with(json!({"ssh_ports": ["2222"], "rollback_s": 5}));
    let locking = slave().start();
    wait_until(WORK_LIMIT, "the rules that lock us out", || {
        let rules = rules(&host);
        if rules.contains("dport 2222") { Ok(()) } else { Err(rules) }
    });
    drop(locking);
    wait_until(Duration::from_secs(30), "the rules before", || {
        let rules = rules(&host);
        if rules.contains("dport 22 ") && rules.contains("8080") { Ok(()) } else { Err(rules) }
    });
    // Lived through, they are undone at once, and told.
    with(json!({"ssh_ports": ["2222"], "rollback_s": 600}));
    let refused = slave().run().status(1);
    refused.stderr_contains("connecting anew");
    assert!(rules(&host).contains("dport 22 "), "{}", rules(&host));
    assert!(lets_in(&site, &host, 22));
}

/// Writes the files that docs/modules.md shows into the user's home, as its reader would.
fn write_what_the_manual_shows(site: &Site) -> usize {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/modules.md");
    let manual = fs::read_to_string(manual).unwrap();
    let mut count = 0;
    for shown in manual.split("\n`modules/").skip(1) {
        let (name, rest) = shown.split_once("`:\n\n```").unwrap();
        let (_language, text) = rest.split_once('\n').unwrap();
        let path = site.sandbox.home().join("modules").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.split("```").next().unwrap()).unwrap();
        count += 1;
    }
    count
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_machine_without_an_init_system_gets_an_engine_that_comes_back() {
    let site = Site::new();
    let host = Container::start_with("box", &site.network, &site.key, &NESTING_RIGHTS);
    host.sh("for place in /sys/fs/cgroup /sys/fs/cgroup/*; do
                 mount -o remount,bind,rw \"$place\" 2>/dev/null || true
             done");
    assert_eq!(write_what_the_manual_shows(&site), 2);
    let types = json!({"server_types": {"both": {"modules": ["docker", "greeter"]}}});
    configure(&site.sandbox, &types);
    site.slave(&["--server-type", "both", &site.destination(&host)]).success();
    let greeting = "this is default. A price: ${not a variable}\n";
    assert_eq!(host.sh("cat /etc/motd"), format!("hello, {greeting}"));
    site.sandbox.wait_for_alive(1);
    let variable = ["config", "set", "provision.variables.greeter.greeting", "\"good day\""];
    site.sandbox.raptor(variable).success();
    let again = site.slave(&["--server-type", "both", &site.destination(&host)]).success();
    again.stderr_contains("greeter/place");
    assert_eq!(host.sh("cat /etc/motd"), format!("good day, {greeting}"));

    let running = "docker info --format '{{.LoggingDriver}} {{.LiveRestoreEnabled}}'";
    assert_eq!(host.sh(running), "json-file true\n");
    host.sh("pkill -9 dockerd");
    wait_until(WORK_LIMIT, "the engine again", || {
        let told = host.try_input(&["sh", "-c", running], b"");
        if told.status.success() { Ok(()) } else { Err(format!("{told:?}")) }
    });
}
