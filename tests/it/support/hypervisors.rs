//! A computer with libvirt, LXC and Vagrant. It is a container: their bridges, leases and firewall rules
//! touch nothing outside it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::container::NESTING_RIGHTS;
use super::docker::{LABEL, docker, run_name, try_docker};
use super::run::Invocation;
use super::sandbox::Sandbox;
use super::wait::wait_until;

/// How long a daemon may take to answer.
const DAEMON_LIMIT: Duration = Duration::from_secs(60);

/// The groups that limit processes are its own to write, and there is the device of tunnels. The shell
/// stays as process 1 and waits, so that orphans are reaped.
const BOOT: &str = "for place in /sys/fs/cgroup /sys/fs/cgroup/*; do
    mount -o remount,bind,rw \"$place\" 2>/dev/null || true
done
mkdir -p /dev/net
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
sleep infinity &
echo booted
wait";

/// A running one, with raptor on it and a user, root, whose home is `/root/r`. Dropped, it is removed by
/// its id, and everything that runs on it ends.
pub struct Hypervisors {
    id: String,
    sandbox: Sandbox,
}

/// The image that `tests/support/hypervisors-image.sh` builds.
fn image() -> String {
    std::env::var("RAPTOR_TEST_HYPERVISORS").unwrap_or_else(|_| {
        panic!("RAPTOR_TEST_HYPERVISORS is not set: run ./runtests.sh, which builds that image")
    })
}

impl Hypervisors {
    /// Boots one on which nothing runs.
    pub fn start() -> Self {
        let sandbox = Sandbox::new();
        let (label, image) = (format!("{LABEL}={}", run_name()), image());
        let mut arguments = vec!["run", "--detach", "--label", &label];
        arguments.extend(["--sysctl", "net.ipv6.conf.all.disable_ipv6=0"]);
        // Not on the layers of an image: they are slow to write, and some kernels nest them badly.
        arguments.extend(["--volume", "/var/lib/libvirt", "--volume", "/var/lib/lxc"]);
        arguments.extend(NESTING_RIGHTS);
        arguments.extend([image.as_str(), "/bin/sh", "-c", BOOT]);
        let computer = Self { id: docker(&arguments), sandbox };
        wait_until(DAEMON_LIMIT, "the computer has booted", || {
            let log = docker(&["logs", &computer.id]);
            if log == "booted" { Ok(()) } else { Err(log) }
        });
        computer.sh("mkdir -p /root/r/providers && chmod 0700 /root/r");
        // What a debugger needs is most of the program, and it goes through emulated processors.
        let stripped = computer.sandbox.path().join("raptor");
        let strip = computer.sandbox.program("strip").arg("-o").arg(&stripped);
        strip.arg(env!("CARGO_BIN_EXE_raptor")).success();
        computer.put(&stripped, "/usr/local/bin/raptor");
        computer
    }

    /// Starts libvirt with its network `default`.
    pub fn start_libvirt(&self) {
        self.sh("libvirtd -d");
        wait_until(DAEMON_LIMIT, "libvirt and its network", || {
            let state = self.try_sh("virsh --quiet net-start default; virsh --quiet net-list");
            if state.contains("active") { Ok(()) } else { Err(state) }
        });
    }

    /// Starts the bridge of LXC, with what leases addresses on it.
    pub fn start_lxc(&self) {
        self.sh("/usr/libexec/lxc/lxc-net start");
    }

    /// Runs a shell script as root; its standard output without the last line break.
    pub fn sh(&self, script: &str) -> String {
        docker(&["exec", &self.id, "sh", "-euc", script])
    }

    /// As [`Self::sh`]; what it said when it failed.
    fn try_sh(&self, script: &str) -> String {
        try_docker(&["exec", &self.id, "sh", "-c", script]).unwrap_or_else(|told| told)
    }

    /// Copies a file there, with its mode.
    pub fn put(&self, file: &Path, path: &str) {
        docker(&["cp", file.to_str().unwrap(), &format!("{}:{path}", self.id)]);
    }

    /// Writes a JSON file there.
    pub fn put_json(&self, value: &Value, path: &str) {
        let file = self.sandbox.path().join("value.json");
        fs::write(&file, value.to_string()).unwrap();
        self.put(&file, path);
    }

    /// The built binary there, with these arguments.
    pub fn raptor(&self, arguments: &[&str]) -> Invocation {
        let exec = ["exec", "--env", "RAPTOR_HOME=/root/r", &self.id, "raptor"];
        self.sandbox.program("docker").args(exec).args(arguments)
    }
}

impl Drop for Hypervisors {
    fn drop(&mut self) {
        let removed = try_docker(&["rm", "--force", "--volumes", &self.id]);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}
