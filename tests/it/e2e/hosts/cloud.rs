//! Machines that are rented: each cloud's back-end against the stub, which boots containers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::killed::{kill_spawn_at, made, wait_until_settled};
use super::{WORK_LIMIT, configure, names};
use crate::cloud::weather::Weather;
use crate::cloud::{ACCESS_KEY_ID, Boot, Dialect, Stub, TOKEN};
use crate::support::container::SYSTEMD_RIGHTS;
use crate::support::docker::{LABEL, docker, image, run_name, try_docker};
use crate::support::run::Invocation;
use crate::support::sandbox::Sandbox;
use crate::support::wait::wait_until;

/// What cloud-init does with our user data, and a cloud-init that says when it is asked.
const BOOT: &str = "umask 077
mkdir -p /run/sshd /root/.ssh
printf '%s\\n' \"$AUTHORIZED_KEYS\" >/root/.ssh/authorized_keys
rm -f /etc/ssh/ssh_host_*
printf '%s' \"$HOST_KEY\" >/etc/ssh/ssh_host_ed25519_key
printf '%s' \"$MARKER\" >/etc/raptor-machine.json
umask 022
printf '#!/bin/sh\\necho \"$@\" >>/cloud-init.log\\nexit 2\\n' >/usr/bin/cloud-init
chmod 0755 /usr/bin/cloud-init
/usr/sbin/sshd -D -e -o HostKey=/etc/ssh/ssh_host_ed25519_key &
wait";

/// As [`BOOT`], and somebody else answers: with a key that nobody gave.
const IMPOSTOR: &str = "mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
/usr/sbin/sshd -D -e -o HostKey=/etc/ssh/ssh_host_ed25519_key &
wait";

/// A machine whose cloud-init finds our user data as a `NoCloud` seed; systemd starts it, as on a real one.
const REAL_CLOUD_INIT: &str = "seed=/var/lib/cloud/seed/nocloud
mkdir -p \"$seed\"
printf '%s' \"$USER_DATA\" >\"$seed/user-data\"
printf 'instance-id: %s\\n' \"$INSTANCE\" >\"$seed/meta-data\"
unset USER_DATA
exec /sbin/init";

/// The tests' image with Debian's cloud-init, which looks nowhere but for a seed.
const DOCKERFILE: &str = "RUN apt-get -qq update \\
 && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends cloud-init \\
 && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* \\
 && printf 'datasource_list: [NoCloud, None]\\nnetwork: {config: disabled}\\n' \\
    >/etc/cloud/cloud.cfg.d/90-test.cfg
";

/// Containers in the place of rented machines.
struct Containers {
    script: &'static str,
    image: String,
    rights: &'static [&'static str],
    made: Mutex<BTreeMap<u64, String>>,
}

impl Containers {
    fn new(script: &'static str) -> Arc<Self> {
        Arc::new(Self { script, image: image(), rights: &[], made: Mutex::default() })
    }

    /// Those whose cloud-init is the real one.
    fn with_cloud_init() -> Arc<Self> {
        let dockerfile = format!("FROM {}\n{DOCKERFILE}", image());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
        // It stays: the next run finds it made.
        let image = docker(&["build", "--quiet", folder.path().to_str().unwrap()]);
        let (script, rights) = (REAL_CLOUD_INIT, &SYSTEMD_RIGHTS);
        Arc::new(Self { script, image, rights, made: Mutex::default() })
    }

    fn ids(&self) -> Vec<String> {
        self.made.lock().unwrap().values().cloned().collect()
    }
}

impl Boot for Containers {
    fn boot(&self, number: u64, user_data: &str) -> IpAddr {
        let config = user_data.strip_prefix("#cloud-config\n").unwrap();
        let config: Value = serde_json::from_str(config).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let keys = config["ssh_authorized_keys"].as_array().unwrap();
        let keys: Vec<String> = keys.iter().map(text).collect();
        let variables = [
            format!("AUTHORIZED_KEYS={}", keys.join("\n")),
            format!("HOST_KEY={}", text(&config["ssh_keys"]["ed25519_private"])),
            format!("MARKER={}", text(&config["write_files"][0]["content"])),
            format!("USER_DATA={user_data}"),
            format!("INSTANCE={number}"),
        ];
        let (label, host) = (format!("{LABEL}={}", run_name()), text(&config["hostname"]));
        let mut arguments = vec!["run", "--detach", "--hostname", &host, "--label", &label];
        arguments.extend(variables.iter().flat_map(|variable| ["--env", variable]));
        arguments.extend(self.rights);
        arguments.extend([self.image.as_str(), "/bin/sh", "-c", self.script]);
        let id = docker(&arguments);
        self.made.lock().unwrap().insert(number, id.clone());
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        docker(&["inspect", "-f", format, &id]).parse().unwrap()
    }

    fn end(&self, number: u64) {
        if let Some(id) = self.made.lock().unwrap().remove(&number) {
            docker(&["rm", "--force", "--volumes", &id]);
        }
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        for id in self.made.lock().unwrap().values() {
            let _gone_meanwhile = try_docker(&["rm", "--force", "--volumes", id]);
        }
    }
}

/// A user with a token for a provider, and the provider.
struct Rental {
    // Dropped in this order: the sandbox may still give machines back to the stub.
    sandbox: Sandbox,
    stub: Stub,
    containers: Arc<Containers>,
    _runtime: Runtime,
    driver: &'static str,
}

impl Rental {
    fn new(driver: &'static str, dialect: Dialect, script: &'static str, boot_ms: u64) -> Self {
        Self::of(driver, dialect, Containers::new(script), boot_ms)
    }

    fn of(
        driver: &'static str,
        dialect: Dialect,
        containers: Arc<Containers>,
        boot_ms: u64,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let boot: Arc<dyn Boot> = Arc::clone(&containers) as Arc<dyn Boot>;
        let stub = runtime.block_on(Stub::start_with(dialect, Weather::fair(), Some(boot)));
        let sandbox = Sandbox::new();
        let token = sandbox.path().join("token");
        let text = match dialect {
            Dialect::Ec2 => format!("{ACCESS_KEY_ID} {TOKEN}\n"),
            _ => TOKEN.to_owned(),
        };
        std::fs::write(&token, text).unwrap();
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
        let settings = json!({
            "driver": driver, "api": stub.api(), "token_file": token, "region": "eu-1",
            "size": "small", "image": "7", "boot_timeout_ms": boot_ms,
        });
        configure(&sandbox, &json!({"compute_types": {driver: settings}}));
        sandbox.destroys_on_drop();
        Self { sandbox, stub, containers, _runtime: runtime, driver }
    }

    fn spawn(&self, count: usize) -> Invocation {
        let count = count.to_string();
        let arguments = ["spawn", "--compute-type", self.driver, "--count", &count];
        self.sandbox.raptor(arguments).limit(WORK_LIMIT)
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.stub.rented("raptor-"), 0);
        wait_until(Duration::from_secs(30), "no container left", || {
            let ids = self.containers.ids();
            if ids.is_empty() { Ok(()) } else { Err(format!("{ids:?}")) }
        });
        let violations = self.stub.world().violations.clone();
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

/// Rents `count` machines, uses them, and gives them back.
fn live_and_go(driver: &'static str, dialect: Dialect, count: usize) {
    let rental = Rental::new(driver, dialect, BOOT, 60_000);
    let sandbox = &rental.sandbox;
    let available = sandbox.raptor(["compute", "check", driver]).success();
    available.stdout_contains(&format!("{driver}: "));
    sandbox.raptor(["compute", "catalog", driver]).success().stdout_contains("A MONTH");
    rental.spawn(count).success();
    let members = sandbox.wait_for_alive(count);
    let expected: Vec<String> = (1..=count).map(|number| format!("{driver}-{number}")).collect();
    assert_eq!(names(&members), expected);
    // The host key is known from birth: nothing is accepted unseen.
    for name in &expected {
        let run = sandbox.raptor(["ssh", name, "--", "cat /etc/raptor-machine.json"]).success();
        assert!(!run.stderr.contains("Permanently added"), "{run:?}");
        let marker: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(marker["version"], 1);
        let told = sandbox.raptor(["ssh", name, "--info-only"]).success();
        told.stdout_contains("StrictHostKeyChecking=yes");
        let asked = sandbox.raptor(["ssh", name, "--", "cat /cloud-init.log"]).success();
        asked.stdout_is("status --wait\n");
    }
    let known = std::fs::read_to_string(sandbox.home().join("known_hosts")).unwrap();
    for id in rental.containers.ids() {
        // What went through the user data opens nothing any more.
        let script = "umask 077; printf %s \"$HOST_KEY\" >/tmp/k; ssh-keygen -y -f /tmp/k; \
                      cat /etc/ssh/ssh_host_ed25519_key.pub";
        let told = docker(&["exec", &id, "sh", "-c", script]);
        let keys: Vec<&str> = told.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(keys.len(), 2, "{told}");
        assert!(known.contains(keys[1]) && !known.contains(keys[0]), "{told} in {known}");
    }
    sandbox.raptor(["destroy", "--all", "--yes"]).limit(WORK_LIMIT).success();
    rental.assert_nothing_left();
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn droplets_are_rented_joined_and_given_back() {
    live_and_go("digitalocean", Dialect::DigitalOcean, 2);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn instances_of_ec2_are_rented_joined_and_given_back() {
    live_and_go("ec2", Dialect::Ec2, 1);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn servers_of_hetzner_are_rented_joined_and_given_back() {
    live_and_go("hetzner", Dialect::Hetzner, 1);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn instances_of_linode_are_rented_joined_and_given_back() {
    live_and_go("linode", Dialect::Linode, 1);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn instances_of_vultr_are_rented_joined_and_given_back() {
    live_and_go("vultr", Dialect::Vultr, 1);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn cloud_init_itself_makes_the_machine_that_our_user_data_describes() {
    let containers = Containers::with_cloud_init();
    let rental = Rental::of("hetzner", Dialect::Hetzner, containers, 60_000);
    let sandbox = &rental.sandbox;
    rental.spawn(1).success();
    sandbox.wait_for_alive(1);
    let read = |command: &str| {
        let run = sandbox.raptor(["ssh", "hetzner-1", "--", command]).success();
        // The host key came with the user data: nothing is accepted unseen.
        assert!(!run.stderr.contains("Permanently added"), "{run:?}");
        run.stdout
    };
    // 2 is a success with remarks (a container has no disks to look after).
    let status = read("cloud-init status --long --format json; [ $? != 1 ]");
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["status"], "done", "{status}");
    assert_eq!(status["datasource"], "nocloud", "{status}");
    assert_eq!(status["errors"], json!([]), "{status}");
    assert_eq!(read("hostname"), "hetzner-1\n");
    let marker: Value = serde_json::from_str(&read("cat /etc/raptor-machine.json")).unwrap();
    assert_eq!(marker["version"], 1);
    // No key but the one that it was given.
    assert_eq!(read("ls /etc/ssh/ssh_host_*_key"), "/etc/ssh/ssh_host_ed25519_key\n");
    assert!(read("sshd -T").contains("passwordauthentication no"));
    sandbox.raptor(["destroy", "--all", "--yes"]).limit(WORK_LIMIT).success();
    rental.assert_nothing_left();
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_rental_whose_maker_was_killed_is_a_member_or_given_back() {
    let rental = Rental::new("hetzner", Dialect::Hetzner, BOOT, 60_000);
    let sandbox = &rental.sandbox;
    sandbox.spawn(1);
    // The request on its way, the machine there, its key about to be admitted.
    for step in ["making it on hetzner", "logging in", "agent init"] {
        kill_spawn_at(sandbox, "hetzner", step);
        let rented = || rental.stub.rented("raptor-");
        wait_until_settled(sandbox, step, || {
            let there = (0..rented()).map(|_| "made alive".to_owned()).collect();
            (there, made(sandbox))
        });
        if rented() > 0 {
            sandbox.raptor(["destroy", "made", "--yes"]).limit(WORK_LIMIT).success();
        }
        rental.assert_nothing_left();
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn whoever_answers_in_a_machines_place_is_not_let_in_and_nothing_stays_rented() {
    let rental = Rental::new("digitalocean", Dialect::DigitalOcean, IMPOSTOR, 6_000);
    let run = rental.spawn(1).run();
    assert_ne!(run.code(), 0, "{run:?}");
    assert!(run.stderr.contains("log in"), "{run:?}");
    rental.assert_nothing_left();
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_revoked_token_is_named_and_costs_nothing() {
    let rental = Rental::new("hetzner", Dialect::Hetzner, BOOT, 10_000);
    rental.stub.world().is_revoked = true;
    let run = rental.spawn(1).run();
    assert_ne!(run.code(), 0, "{run:?}");
    assert!(run.stderr.contains("does not accept the token"), "{run:?}");
    assert!(!run.stderr.contains(TOKEN) && !run.stdout.contains(TOKEN), "{run:?}");
    rental.stub.world().is_revoked = false;
    rental.assert_nothing_left();
}
