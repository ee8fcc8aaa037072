//! A user with a home folder of their own, and the clusters they make in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::api::Api;
use super::process::processes_of;
use super::{RAPTOR, in_parallel, run, until};

/// How long anything may take before a measurement gives up.
const LIMIT: Duration = Duration::from_secs(60);

/// Whatever was made in the home is destroyed when this is dropped.
pub struct User {
    folder: TempDir,
}

impl User {
    /// A fresh home, with a path short enough for unix sockets below it.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("rb").tempdir_in("/tmp").unwrap();
        fs::create_dir_all(folder.path().join("r")).unwrap();
        Self { folder }
    }

    /// A fresh home with this `mutable_config.json`.
    pub fn with_config(config: &Value) -> Self {
        let user = Self::new();
        fs::write(user.home().join("mutable_config.json"), config.to_string()).unwrap();
        user
    }

    /// What `RAPTOR_HOME` says.
    fn home(&self) -> PathBuf {
        self.folder.path().join("r")
    }

    /// `raptor` in this home.
    pub fn raptor(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&*RAPTOR);
        command.env("HOME", self.folder.path()).env("RAPTOR_HOME", self.home());
        command.env("RAPTOR_YES", "1").args(arguments);
        command
    }

    /// Whether the command line shows exactly `count` members, all alive.
    pub fn sees_alive(&self, count: usize) -> bool {
        let output = self.raptor(&["members", "-o", "json"]).stdin(Stdio::null()).output().unwrap();
        let members: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        members.len() == count && members.iter().all(|member| member["status"] == "alive")
    }

    /// A cluster of `count` local machines that all see each other.
    pub fn spawn_local(&self, count: usize) -> Vec<LocalMachine> {
        run(&mut self.raptor(&["spawn", "--count", &count.to_string()]));
        let machines = self.machines();
        assert_eq!(machines.len(), count);
        in_parallel(&machines, |machine| {
            until(LIMIT, "all alive on each", || machine.api().alive() == count);
        });
        machines
    }

    /// The local machines of the only cluster, by name.
    pub fn machines(&self) -> Vec<LocalMachine> {
        let clusters = folders(&self.home().join("machines"));
        let mut machines: Vec<_> = clusters.iter().flat_map(|cluster| folders(cluster)).collect();
        machines.sort();
        machines.into_iter().map(|home| LocalMachine { home }).collect()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let done = self.raptor(&["destroy", "--all", "--yes"]).stdin(Stdio::null()).output();
        if !done.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("not all was destroyed: {done:?}");
        }
    }
}

/// The visible folders in `folder`; none when it is not there.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir() && !path.to_string_lossy().contains("/.")).collect()
}

/// A machine that is a folder and a process group.
pub struct LocalMachine {
    home: PathBuf,
}

impl LocalMachine {
    /// Its folder's name, which is the member's.
    pub fn name(&self) -> &str {
        self.home.file_name().unwrap().to_str().unwrap()
    }

    /// Its agent's API.
    pub fn api(&self) -> Api {
        Api::new(&self.home.join("agent/agent.sock"))
    }

    /// Supervisor and agent, in this order.
    pub fn processes(&self) -> Vec<u32> {
        processes_of(&self.home)
    }

    /// The agent's process id.
    pub fn agent(&self) -> u32 {
        *self.processes().last().unwrap()
    }

    /// What the agent has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.home.join("agent/agent.log")
    }

    /// Starts its supervisor again, as a child of nobody here: whoever destroys the machine waits
    /// until no trace of it is left, and the dead child of this program would be one.
    pub fn restart(&self) {
        let log = File::options().append(true).create(true).open(self.log_file()).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" &", "sh"]).arg(&*RAPTOR).arg("--home").arg(&self.home);
        command.args(["agent", "supervise"]).stdin(Stdio::null()).stdout(Stdio::null());
        assert!(command.stderr(log).status().unwrap().success(), "{} starts again", self.name());
    }
}
