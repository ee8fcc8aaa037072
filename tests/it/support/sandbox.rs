//! A user of their own: home, state and runtime folders that nobody else has.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::process::{self, Process};
use super::run::Invocation;
use super::wait::wait_until;

/// The longest a whole cluster may take to agree in a test, on a busy computer.
pub const CONVERGENCE_LIMIT: Duration = Duration::from_secs(60);

/// What is passed on of the caller's environment: where programs are, and how Docker is reached.
const INHERITED: [&str; 4] = ["PATH", "DOCKER_HOST", "RAPTOR_TEST_IMAGE", "RAPTOR_TEST_RUN"];

/// A place to run `raptor` in. Dropped, it ends every process that was started in it.
pub struct Sandbox {
    folder: TempDir,
    environment: Vec<(OsString, OsString)>,
    destroys: AtomicBool,
}

/// The machines that the back-end `local` holds for the user of this home.
pub fn local_machines(home: &Path) -> BTreeSet<String> {
    let clusters = fs::read_dir(home.join("machines")).into_iter().flatten();
    let machines = clusters.filter_map(|cluster| fs::read_dir(cluster.ok()?.path()).ok()).flatten();
    let names = machines.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).collect()
}

impl Sandbox {
    /// Makes one, in a folder short enough for the paths of unix sockets (108 bytes, unix(7)).
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("rt").tempdir_in("/tmp").unwrap();
        let mut environment: Vec<(OsString, OsString)> = INHERITED
            .iter()
            .filter_map(|key| Some((OsString::from(key), std::env::var_os(key)?)))
            .collect();
        let folders = [
            ("HOME", "home"),
            ("RAPTOR_HOME", "r"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_RUNTIME_DIR", "run"),
            ("TMPDIR", "tmp"),
        ];
        for (key, name) in folders {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            environment.push((key.into(), path.into()));
        }
        for (key, value) in [("LC_ALL", "C.UTF-8"), ("TERM", "dumb"), ("USER", "tester")] {
            environment.push((key.into(), value.into()));
        }
        environment.push((process::MARK.into(), folder.path().into()));
        Self { folder, environment, destroys: AtomicBool::new(false) }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `RAPTOR_HOME`.
    pub fn home(&self) -> PathBuf {
        self.path().join("r")
    }

    /// Says that machines outside this computer's own processes may come of it (containers), so
    /// that dropping it destroys them by `raptor destroy --all`.
    pub fn destroys_on_drop(&self) {
        self.destroys.store(true, Ordering::Relaxed);
    }

    /// The built binary with these arguments.
    pub fn raptor<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Invocation {
        Invocation::new(env!("CARGO_BIN_EXE_raptor"), &self.environment).args(arguments)
    }

    /// Another program, in this sandbox's environment.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Invocation {
        Invocation::new(program, &self.environment)
    }

    /// What runs in it, the tests' own children included.
    pub fn processes(&self) -> Vec<Process> {
        process::marked(&self.path().to_string_lossy())
    }

    /// Processes whose command line holds all of `parts`.
    pub fn processes_with(&self, parts: &[&str]) -> Vec<Process> {
        let holds =
            |process: &Process| parts.iter().all(|part| process.command_line.contains(part));
        self.processes().into_iter().filter(holds).collect()
    }

    /// `members -o json`.
    pub fn members(&self) -> Vec<Value> {
        let document = self.raptor(["members", "-o", "json"]).success().stdout_json();
        document.as_array().unwrap_or_else(|| panic!("no array: {document}")).clone()
    }

    /// Waits until `members` shows exactly `count` alive and nobody else; gives them.
    pub fn wait_for_alive(&self, count: usize) -> Vec<Value> {
        wait_until(CONVERGENCE_LIMIT, &format!("{count} members alive"), || {
            let run = self.raptor(["members", "-o", "json"]).run();
            let members: Vec<Value> =
                serde_json::from_str(&run.stdout).map_err(|_| format!("{run:?}"))?;
            // Alive is heard of first, where somebody is a moment later.
            let is_known =
                |member: &&Value| member["status"] == "alive" && member["endpoints"][0].is_string();
            let known = members.iter().filter(is_known).count();
            if known == count && members.len() == count {
                Ok(members)
            } else {
                Err(format!("{members:?}"))
            }
        })
    }

    /// A cluster of local machines, all alive, of which each knows all the others; its members.
    pub fn spawn(&self, count: usize) -> Vec<Value> {
        self.raptor(["spawn", "--count", &count.to_string()]).success();
        let members = self.wait_for_alive(count);
        for member in &members {
            self.wait_for_view(member["name"].as_str().unwrap(), count);
        }
        members
    }

    /// The home folder of the local machine `name`: `machines/CLUSTER_ID/NAME` below the user's.
    pub fn machine(&self, name: &str) -> PathBuf {
        let clusters = fs::read_dir(self.home().join("machines")).unwrap();
        let homes = clusters.map(|cluster| cluster.unwrap().path().join(name));
        let found: Vec<PathBuf> = homes.filter(|home| home.is_dir()).collect();
        assert_eq!(found.len(), 1, "homes of {name}: {found:?}");
        found[0].clone()
    }

    /// As [`Self::machine`]; none when there is no such machine.
    pub fn machine_if_any(&self, name: &str) -> Option<PathBuf> {
        let mut clusters = fs::read_dir(self.home().join("machines")).ok()?;
        clusters.find_map(|cluster| {
            let home = cluster.ok()?.path().join(name);
            home.is_dir().then_some(home)
        })
    }

    /// The local machines that exist, whether they run or not.
    pub fn folders(&self) -> BTreeSet<String> {
        local_machines(&self.home())
    }

    /// The address of the agent of the local machine `name`; none when there is no such machine.
    pub fn socket(&self, name: &str) -> Option<String> {
        let home = self.machine_if_any(name)?;
        Some(format!("unix:{}", home.join("agent/agent.sock").display()))
    }

    /// The built binary, talking to the agent of the local machine `name` alone.
    pub fn raptor_at<S: AsRef<OsStr>>(
        &self,
        name: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Invocation {
        let socket = self.machine(name).join("agent/agent.sock");
        self.raptor(["--connect", &format!("unix:{}", socket.display())]).args(arguments)
    }

    /// The agent (`run`) or the supervisor (`supervise`) of the local machine `name`.
    pub fn agent(&self, name: &str, verb: &str) -> Option<Process> {
        let home = self.machine(name).display().to_string();
        let line = format!("--home {home} agent {verb}");
        self.processes_with(&[&line]).pop()
    }

    /// Waits until the agent of the local machine `name` calls `other` by this status.
    pub fn wait_for_status(&self, name: &str, other: &str, status: &str) {
        wait_until(CONVERGENCE_LIMIT, &format!("{other} {status} on {name}"), || {
            let run = self.raptor_at(name, ["members", "-o", "json"]).run();
            let members: Vec<Value> = serde_json::from_str(&run.stdout).unwrap_or_default();
            let is_so = |member: &Value| member["name"] == other && member["status"] == status;
            if members.iter().any(is_so) { Ok(()) } else { Err(format!("{run:?}")) }
        });
    }

    /// Waits until the agent of the local machine `name` calls `count` members alive and knows where
    /// each of them is.
    pub fn wait_for_view(&self, name: &str, count: usize) {
        wait_until(CONVERGENCE_LIMIT, &format!("{count} alive by the word of {name}"), || {
            let run = self.raptor_at(name, ["members", "-o", "json"]).run();
            let members: Vec<Value> = serde_json::from_str(&run.stdout).unwrap_or_default();
            let is_known =
                |member: &&Value| member["status"] == "alive" && member["endpoints"][0].is_string();
            let known = members.iter().filter(is_known).count();
            if known == count { Ok(()) } else { Err(format!("{members:?}")) }
        });
    }

    /// Waits until the document of the local machine `name` has `expected` at `path` of its
    /// configuration; `null` means that nothing is there.
    pub fn wait_for_value(&self, name: &str, path: &str, expected: &Value) {
        wait_until(CONVERGENCE_LIMIT, &format!("{path} = {expected} on {name}"), || {
            let run = self.raptor_at(name, ["config", "get", path, "--layer", "document"]).run();
            let found = match run.code() {
                0 => serde_json::from_str(&run.stdout)
                    .unwrap_or_else(|_| Value::from(run.stdout.clone())),
                _ if run.stderr.starts_with("error: nothing is set at") => Value::Null,
                _ => return Err(format!("{run:?}")),
            };
            if found == *expected { Ok(()) } else { Err(format!("{run:?}")) }
        });
    }

    /// Waits until nothing runs in it.
    pub fn wait_for_silence(&self) {
        wait_until(Duration::from_secs(10), "no process left", || {
            let left: Vec<String> = self.processes().iter().map(ToString::to_string).collect();
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        });
    }

    /// Every file and socket below [`Self::home`], relative to it.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        walkdir::WalkDir::new(self.home())
            .into_iter()
            .map(Result::unwrap)
            .filter(|entry| !entry.file_type().is_dir())
            .map(|entry| entry.path().strip_prefix(self.home()).unwrap().to_owned())
            .collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.destroys.load(Ordering::Relaxed) {
            let run = self.raptor(["destroy", "--all", "--yes"]).start();
            // A failing destroy must not hide what the test itself says.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let run = run.finish(Duration::from_secs(120));
                // The test itself may have given everything back.
                if !run.stderr.contains("there is no cluster") {
                    run.success();
                }
            }));
            assert!(outcome.is_ok() || std::thread::panicking(), "destroy --all failed");
        }
        let left = process::reap(|| self.processes());
        assert!(left.is_ok() || std::thread::panicking(), "cannot be ended: {left:?}");
    }
}

#[test]
fn a_detached_process_is_found_and_ended() {
    let sandbox = Sandbox::new();
    sandbox
        .program("sh")
        .args(["-c", "setsid tail -f /dev/null >/dev/null 2>&1 </dev/null &"])
        .success();
    let found = wait_until(Duration::from_secs(10), "the detached process", || {
        sandbox.processes_with(&["tail", "/dev/null"]).pop().ok_or("nothing")
    });
    drop(sandbox);
    assert!(!found.is_running(), "{found} outlived its sandbox");
}
