//! A host of its own: a container with a real sshd.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::docker::{LABEL, Network, docker, image, run_name, try_docker};
use super::keys::KeyPair;
use super::wait::wait_until;

/// What a host runs: keys of its own (one image would give all hosts the same), then sshd. The
/// shell stays as process 1 and waits, so that orphans are reaped.
const BOOT: &str = "mkdir -p /run/sshd /root/.ssh
chmod 0700 /root/.ssh
printf '%s\\n' \"$AUTHORIZED_KEY\" >/root/.ssh/authorized_keys
ssh-keygen -A >/dev/null
/usr/sbin/sshd -D -e &
wait";

/// What a host with systemd runs: as [`BOOT`], and systemd is process 1.
const BOOT_SYSTEMD: &str = "mkdir -p /root/.ssh
chmod 0700 /root/.ssh
printf '%s\\n' \"$AUTHORIZED_KEY\" >/root/.ssh/authorized_keys
ssh-keygen -A >/dev/null
exec /sbin/init";

/// What systemd needs of Docker, and no more.
pub const SYSTEMD_RIGHTS: [&str; 14] = [
    "--cap-add",
    "SYS_ADMIN",
    "--cap-add",
    "NET_ADMIN",
    "--security-opt",
    "seccomp=unconfined",
    "--security-opt",
    "systempaths=unconfined",
    "--tmpfs",
    "/run",
    "--tmpfs",
    "/run/lock",
    "--volume",
    "/sys/fs/cgroup:/sys/fs/cgroup:ro",
];

/// What an engine in a container needs of the one outside. `--privileged` would be more, and where the
/// tests' computer is itself a container it cannot be had.
pub const NESTING_RIGHTS: [&str; 12] = [
    "--cap-add",
    "ALL",
    "--cap-drop",
    "SYS_RESOURCE",
    "--volume",
    "/var/lib/docker",
    "--security-opt",
    "seccomp=unconfined",
    "--security-opt",
    "systempaths=unconfined",
    "--device-cgroup-rule",
    "a *:* rwm",
];

/// How an unprivileged user becomes root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sudo {
    /// Without being asked.
    Free,
    /// With this password.
    Password(&'static str),
    /// Not at all.
    Refused,
}

/// A running container. Dropped, it is removed by its id.
pub struct Container {
    /// Docker's id.
    pub id: String,
    /// Its host name.
    pub name: String,
    key: KeyPair,
}

impl Container {
    /// Boots a host on `network` that lets root in by `key`, and waits until its sshd answers.
    pub fn start(name: &str, network: &Network, key: &KeyPair) -> Self {
        Self::start_with(name, network, key, &[])
    }

    /// As [`Self::start`], with further arguments for `docker run`.
    pub fn start_with(name: &str, network: &Network, key: &KeyPair, extra: &[&str]) -> Self {
        let container = Self::run(name, network, key, extra, BOOT);
        container.wait_for_sshd();
        container
    }

    /// As [`Self::start`], with systemd as process 1.
    pub fn start_systemd(name: &str, network: &Network, key: &KeyPair) -> Self {
        Self::start_systemd_with(name, network, key, &[])
    }

    /// As [`Self::start_systemd`], with further arguments for `docker run`.
    pub fn start_systemd_with(
        name: &str,
        network: &Network,
        key: &KeyPair,
        extra: &[&str],
    ) -> Self {
        let arguments = [&SYSTEMD_RIGHTS[..], extra].concat();
        let container = Self::run(name, network, key, &arguments, BOOT_SYSTEMD);
        wait_until(Duration::from_secs(60), "systemd with its sshd", || {
            let state = container.try_input(&["systemctl", "is-active", "ssh.service"], b"");
            let state = String::from_utf8_lossy(&state.stdout).into_owned();
            if state == "active\n" { Ok(()) } else { Err(state) }
        });
        container
    }

    fn run(name: &str, network: &Network, key: &KeyPair, extra: &[&str], boot: &str) -> Self {
        let label = format!("{LABEL}={}", run_name());
        let authorized = format!("AUTHORIZED_KEY={}", key.public);
        let image = image();
        let mut arguments = vec!["run", "--detach", "--hostname", name, "--label", &label];
        arguments.extend(["--network", &network.id, "--env", &authorized]);
        arguments.extend(["--sysctl", "net.ipv6.conf.all.disable_ipv6=0"]);
        arguments.extend(extra);
        arguments.extend([image.as_str(), "/bin/sh", "-c", boot]);
        Self { id: docker(&arguments), name: name.to_owned(), key: key.clone() }
    }

    fn wait_for_sshd(&self) {
        wait_until(Duration::from_secs(60), "sshd of the container", || {
            let log = Command::new("docker").args(["logs", &self.id]).output().unwrap();
            let told = String::from_utf8_lossy(&log.stderr).into_owned();
            if told.contains("Server listening on 0.0.0.0") { Ok(()) } else { Err(told) }
        });
    }

    /// Its address on `network`.
    pub fn address(&self, network: &Network) -> String {
        let template = format!(
            "{{{{range .NetworkSettings.Networks}}}}\
             {{{{if eq .NetworkID \"{}\"}}}}{{{{.IPAddress}}}}{{{{end}}}}{{{{end}}}}",
            network.id
        );
        let address = docker(&["inspect", "-f", &template, &self.id]);
        assert!(!address.is_empty(), "{} is not on that network", self.name);
        address
    }

    /// `root@ADDRESS`.
    pub fn destination(&self, network: &Network) -> String {
        format!("root@{}", self.address(network))
    }

    /// The file of the secret key that opens it.
    pub fn identity_file(&self) -> &Path {
        &self.key.secret
    }

    /// Adds a user who is let in by the same key.
    pub fn add_user(&self, user: &str, sudo: Sudo) {
        self.sh(&format!(
            "useradd --create-home --shell /bin/sh {user}
             usermod --password '*' {user}
             install -d -m 0700 -o {user} -g {user} /home/{user}/.ssh
             install -m 0600 -o {user} -g {user} /root/.ssh/authorized_keys /home/{user}/.ssh/"
        ));
        let rule = match sudo {
            Sudo::Free => format!("{user} ALL=(ALL:ALL) NOPASSWD: ALL"),
            Sudo::Password(_) => format!("{user} ALL=(ALL:ALL) ALL"),
            Sudo::Refused => return,
        };
        if let Sudo::Password(password) = sudo {
            self.input(&["chpasswd"], format!("{user}:{password}\n").as_bytes());
        }
        let write = format!("umask 0337; cat >/etc/sudoers.d/{user}");
        self.input(&["sh", "-c", &write], format!("{rule}\n").as_bytes());
    }

    /// Runs a shell script as root; its standard output.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.input(&["sh", "-eu"], script.as_bytes())
    }

    /// Runs a command as root with `stdin`; its standard output.
    #[track_caller]
    pub fn input(&self, command: &[&str], stdin: &[u8]) -> String {
        let output = self.try_input(command, stdin);
        assert!(
            output.status.success(),
            "{}: {command:?}: {}: {}",
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// As [`Self::input`], and any exit status will do.
    pub fn try_input(&self, command: &[&str], stdin: &[u8]) -> Output {
        let mut child = Command::new("docker")
            .args(["exec", "--interactive", &self.id])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing closes its input early.
        let _closed_early = child.stdin.take().unwrap().write_all(stdin);
        child.wait_with_output().unwrap()
    }

    /// Pulls its plug: all its processes end at once. Its disk stays.
    pub fn kill(&self) {
        docker(&["kill", &self.id]);
    }

    /// Boots it again after [`Self::kill`].
    pub fn boot(&self) {
        docker(&["start", &self.id]);
        wait_until(Duration::from_secs(60), "sshd after the boot", || {
            let output = self.try_input(&["sh", "-c", "ss -Hltn 'sport = :22'"], b"");
            if output.stdout.is_empty() { Err("nobody listens") } else { Ok(()) }
        });
    }

    /// Freezes its processes; the kernel still answers.
    pub fn pause(&self) {
        docker(&["pause", &self.id]);
    }

    /// Lets them go on.
    pub fn unpause(&self) {
        docker(&["unpause", &self.id]);
    }

    /// Copies a file of this computer onto it, executable.
    pub fn copy(&self, source: &Path, destination: &str) {
        docker(&["cp", &source.display().to_string(), &format!("{}:{destination}", self.id)]);
        self.sh(&format!("chmod 0755 '{destination}'"));
    }

    /// Takes it off `network`.
    pub fn disconnect(&self, network: &Network) {
        docker(&["network", "disconnect", &network.id, &self.id]);
    }

    /// Puts it on `network`, at `address` when one is given.
    pub fn connect(&self, network: &Network, address: Option<&str>) {
        let mut arguments = vec!["network", "connect"];
        arguments.extend(address.iter().flat_map(|address| ["--ip", address]));
        arguments.extend([network.id.as_str(), self.id.as_str()]);
        docker(&arguments);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let removed = try_docker(&["rm", "--force", "--volumes", &self.id]);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}
