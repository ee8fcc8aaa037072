//! Containers that SSH lets in, for the measurements of `slave` and of docker machines.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::{RAPTOR, in_parallel, run, until};

/// Runs `docker`; its standard output.
pub fn docker(arguments: &[&str]) -> String {
    let output = run(Command::new("docker").args(arguments));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The image of the hosts.
pub fn image() -> String {
    std::env::var("RAPTOR_TEST_IMAGE").unwrap_or_else(|_| {
        panic!("RAPTOR_TEST_IMAGE is not set: it is what tests/support/base-image.sh prints")
    })
}

/// Where the engine's socket is on this computer.
pub fn engine_socket() -> String {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned()
}

/// The engine's client program, which has no need of anything but the C library.
pub fn client() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("docker"));
    let found = found.find(|file| file.is_file());
    fs::canonicalize(found.unwrap_or_else(|| panic!("docker is not installed")))
        .unwrap()
        .display()
        .to_string()
}

/// Containers with an sshd that one key opens. Removed by their ids when dropped.
pub struct Hosts {
    folder: TempDir,
    /// Docker's ids.
    pub ids: Vec<String>,
    /// Their addresses.
    pub addresses: Vec<String>,
}

/// What such a host runs.
const BOOT: &str = "mkdir -p /run/sshd /root/.ssh; chmod 0700 /root/.ssh
printf '%s\\n' \"$AUTHORIZED_KEY\" >/root/.ssh/authorized_keys
rm -f /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
/usr/sbin/sshd -D -e -o HostKey=/etc/ssh/ssh_host_ed25519_key & wait";

impl Hosts {
    /// A key, and no host yet.
    pub fn prepare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        Self { folder, ids: Vec::new(), addresses: Vec::new() }
    }

    /// Boots `count` containers, all at once, and waits until each lets `ssh` in.
    pub fn boot(&mut self, count: usize) {
        let public = fs::read_to_string(self.key().with_extension("pub")).unwrap();
        let environment = format!("AUTHORIZED_KEY={}", public.trim());
        let image = image();
        let start = || docker(&["run", "-d", "-e", &environment, &image, "sh", "-c", BOOT]);
        let started: Vec<(String, String)> = thread::scope(|scope| {
            let threads: Vec<_> = (0..count)
                .map(|_| {
                    scope.spawn(|| {
                        let id = start();
                        let address = address_of(&id);
                        (id, address)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        (self.ids, self.addresses) = started.into_iter().unzip();
        in_parallel(&self.addresses, |address| {
            until(Duration::from_secs(60), "ssh to the host", || {
                self.ssh(address, "true").stderr(Stdio::null()).status().is_ok_and(|s| s.success())
            });
        });
    }

    /// The key that opens them.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// `ssh root@ADDRESS COMMAND`, asking nothing.
    pub fn ssh(&self, address: &str, remote: &str) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-i"]);
        command.arg(self.key()).arg(format!("root@{address}")).arg(remote);
        command
    }

    /// Copies the measured binary onto each, all at once.
    pub fn copy_to_each(&self) {
        in_parallel(&self.addresses, |address| {
            let mut copy = self.ssh(address, "cat >/tmp/copy && chmod 755 /tmp/copy");
            let status = copy.stdin(File::open(&*RAPTOR).unwrap()).stdout(Stdio::null()).status();
            assert!(status.is_ok_and(|status| status.success()), "copy to {address}");
        });
    }
}

fn address_of(id: &str) -> String {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    docker(&["inspect", "-f", format, id])
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if self.ids.is_empty() {
            return;
        }
        let mut command = Command::new("docker");
        command.args(["rm", "-f", "-v"]).args(&self.ids).stdout(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            eprintln!("containers are left: {:?}", self.ids);
        }
    }
}
