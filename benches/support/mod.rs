//! What the measurements share: samples, floors measured in the same run, and one way to print.
#![allow(dead_code, reason = "each measurement is a program of its own and uses a part")]

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The binary that is measured.
pub const RAPTOR: &str = env!("CARGO_BIN_EXE_raptor");

/// How long between two looks at the state of a cluster; every figure is this coarse.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Times of one thing, done several times.
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Does `work` `count` times and keeps what each says it took.
    pub fn of(count: usize, mut work: impl FnMut() -> Duration) -> Self {
        Self::from((0..count).map(|_| work()).collect::<Vec<_>>())
    }

    /// The value that `share` (0 to 1) of the samples do not exceed (nearest rank).
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.0.len() - 1;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small index"
        )]
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0[rank.saturating_sub(1).min(last)]
    }

    /// The middle one.
    pub fn median(&self) -> Duration {
        self.quantile(0.5)
    }
}

impl From<Vec<Duration>> for Samples {
    fn from(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort();
        Self(times)
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "median {:>9.1?}   p95 {:>9.1?}   p99 {:>9.1?}   n {}",
            self.median(),
            self.quantile(0.95),
            self.quantile(0.99),
            self.0.len()
        )
    }
}

/// Prints one figure.
pub fn print(name: &str, samples: &Samples) {
    println!("{name:<36} {samples}");
}

/// Prints a figure, its floor, their ratio and whether the aim is met.
pub fn print_beside(name: &str, samples: &Samples, floor: (&str, &Samples), aim: Aim) {
    print(name, samples);
    print(&format!("  floor: {}", floor.0), floor.1);
    let ratio = samples.median().as_secs_f64() / floor.1.median().as_secs_f64();
    let met = match aim {
        Aim::Within(limit) => verdict(samples.median() <= limit, &format!("{limit:?}")),
        Aim::Ratio(limit) => verdict(ratio <= limit, &format!("{limit} x floor")),
    };
    println!("{:<36} {ratio:.2} x floor   {met}", "");
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    /// A median of at most this.
    Within(Duration),
    /// At most this many times the floor's median.
    Ratio(f64),
}

/// `aim ...: met` or `aim ...: MISSED`.
pub fn verdict(met: bool, aim: &str) -> String {
    format!("aim {aim}: {}", if met { "met" } else { "MISSED" })
}

/// How long `work` takes.
pub fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Runs a command to its end; anything but success ends the measurement.
pub fn run(command: &mut Command) -> Output {
    let output =
        command.stdin(Stdio::null()).output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Looks every 10 ms until `look` holds; gives the time it took.
pub fn until(limit: Duration, what: &str, mut look: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !look() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(POLL_INTERVAL);
    }
    start.elapsed()
}

/// Runs `work` once for each of `items`, all at the same time.
pub fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        for item in items {
            scope.spawn(|| work(item));
        }
    });
}

/// A user of their own with a home folder; whatever was made in it is destroyed when dropped.
pub struct User {
    folder: TempDir,
}

impl User {
    pub fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("rb").tempdir_in("/tmp").unwrap() }
    }

    pub fn home(&self) -> &Path {
        self.folder.path()
    }

    /// `raptor` in this home.
    pub fn raptor(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(RAPTOR);
        command.env("HOME", self.home()).env("RAPTOR_HOME", self.home().join("r"));
        command.env("RAPTOR_YES", "1").args(arguments);
        command
    }

    /// Where the local machine `name` of the cluster `default` listens.
    pub fn socket_of(&self, name: &str) -> PathBuf {
        self.home().join("r/machines/default").join(name).join("agent/agent.sock")
    }

    /// `members -o json`, as the member `through` sees it or whoever answers; none while nobody does.
    pub fn members(&self, through: Option<&str>) -> Option<Vec<Value>> {
        let mut command = self.raptor(&["members", "-o", "json"]);
        if let Some(name) = through {
            command.arg("--connect").arg(format!("unix:{}", self.socket_of(name).display()));
        }
        let output = command.stdin(Stdio::null()).output().ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Whether exactly `count` members are alive and nobody else is listed.
    pub fn sees_alive(&self, count: usize) -> bool {
        self.members(None).is_some_and(|members| {
            members.len() == count && members.iter().all(|member| member["status"] == "alive")
        })
    }

    /// The names of the members, in their order.
    pub fn names(&self) -> Vec<String> {
        let members = self.members(None).unwrap_or_default();
        members.iter().filter_map(|member| Some(member["name"].as_str()?.to_owned())).collect()
    }

    /// A cluster of `count` local machines that all see each other.
    pub fn spawn_local(&self, count: usize) {
        run(&mut self.raptor(&["spawn", "--count", &count.to_string()]));
        until(Duration::from_secs(60), "all alive", || self.sees_alive(count));
        for name in self.names() {
            until(Duration::from_secs(60), "all alive on each", || {
                self.members(Some(&name)).is_some_and(|members| {
                    members.iter().filter(|member| member["status"] == "alive").count() == count
                })
            });
        }
    }

    /// Process ids of the agents that run below this home, by the home each was given.
    pub fn agents(&self) -> Vec<(i32, String)> {
        let own = self.home().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let raw = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&raw).replace('\0', " ");
            if line.contains(&own) && line.contains("agent run") {
                found.push((pid, line));
            }
        }
        found
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _told_by_exit_status = self
            .raptor(&["destroy", "--all", "--yes"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
    }
}

/// Runs `docker`; its standard output.
pub fn docker(arguments: &[&str]) -> String {
    let output = run(Command::new("docker").args(arguments));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
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
ssh-keygen -A >/dev/null; /usr/sbin/sshd -D -e & wait";

impl Hosts {
    /// Boots `count` of `RAPTOR_TEST_IMAGE`, all at once, and waits until each lets `ssh` in.
    pub fn boot(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        let environment = format!("AUTHORIZED_KEY={}", public.trim());
        let image = image();
        let start = || docker(&["run", "-d", "-e", &environment, &image, "sh", "-c", BOOT]);
        let ids: Vec<String> = thread::scope(|scope| {
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let address = |id: &String| {
            docker(&[
                "inspect",
                "-f",
                "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
                id,
            ])
        };
        let addresses = ids.iter().map(address).collect();
        let hosts = Self { folder, ids, addresses };
        in_parallel(&hosts.addresses, |address| {
            until(Duration::from_secs(60), "ssh to the host", || {
                hosts.ssh(address, "true").stderr(Stdio::null()).status().is_ok_and(|s| s.success())
            });
        });
        hosts
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
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _told_by_exit_status = Command::new("docker")
            .args(["rm", "-f", "-v"])
            .args(&self.ids)
            .stdout(Stdio::null())
            .status();
    }
}

/// The image of the hosts.
pub fn image() -> String {
    std::env::var("RAPTOR_TEST_IMAGE").unwrap_or_else(|_| {
        panic!("RAPTOR_TEST_IMAGE is not set: it is what tests/support/base-image.sh prints")
    })
}
