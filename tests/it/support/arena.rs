//! A computer of their own for local machines: a network in which nothing but they is, and a small
//! disk. Both can be broken without anybody else noticing.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::process::Process;
use super::run::{Invocation, Running};
use super::sandbox::{Sandbox, local_machines};
use super::wait::wait_until;

/// Room for a dozen machines' documents and logs.
const DISK_SIZE: &str = "64m";

/// The file that fills the disk.
const FILLER: &str = "filler";

/// The computer. Dropped with its sandbox, it is gone altogether.
pub struct Arena {
    pub sandbox: Sandbox,
    holder: Running,
}

impl Arena {
    /// Makes it.
    ///
    /// # Panics
    /// When the kernel does not allow it.
    pub fn new() -> Self {
        let sandbox = Sandbox::new();
        let first = if is_root() { vec!["-n", "-m"] } else { vec!["-r", "-n", "-m"] };
        let home = sandbox.home().display().to_string();
        let hold = format!(
            "mount -t tmpfs -o size={DISK_SIZE},mode=700 tmpfs '{home}' && ip link set lo up && \
             echo ready && exec tail -f /dev/null"
        );
        let mut holder = sandbox.program("unshare").args(first).args(["sh", "-c", &hold]).start();
        wait_until(Duration::from_secs(10), "namespaces", || {
            assert!(holder.is_running(), "unshare is refused: run as root or allow it");
            if holder.printed("ready\n") { Ok(()) } else { Err("not yet") }
        });
        Self { sandbox, holder }
    }

    /// A program, run on it.
    pub fn program(&self, program: &str) -> Invocation {
        let user = if is_root() { vec![] } else { vec!["-U"] };
        let place = ["-t".to_owned(), self.holder.pid().to_string()];
        let enter = self.sandbox.program("nsenter").args(place).args(user);
        enter.args(["--preserve-credentials", "-n", "-m", "--", program])
    }

    /// `raptor`, run on it.
    pub fn raptor(&self, words: &[&str]) -> Invocation {
        self.program(env!("CARGO_BIN_EXE_raptor")).args(words)
    }

    /// `raptor`, talking to the agent of one machine alone; none when there is no such machine.
    pub fn raptor_at(&self, name: &str, words: &[&str]) -> Option<Invocation> {
        let clusters = self.home().join("machines");
        let cluster = fs::read_dir(clusters).ok()?.next()?.ok()?.file_name();
        let machines = self.sandbox.home().join("machines").join(cluster);
        let socket = machines.join(name).join("agent/agent.sock");
        let connect = format!("unix:{}", socket.display());
        Some(self.raptor(&["--connect", &connect]).args(words))
    }

    /// The home as it is seen from outside.
    fn home(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.pid()));
        root.join(self.sandbox.home().strip_prefix("/").unwrap())
    }

    /// The machines that the back-end holds, whether they run or not.
    pub fn folders(&self) -> BTreeSet<String> {
        local_machines(&self.home())
    }

    /// Supervisor and agent of a machine, as far as they run.
    pub fn processes_of(&self, name: &str) -> Vec<Process> {
        let agents = self.sandbox.processes_with(&["--home ", &format!("/{name} agent ")]);
        let runs = |process: &Process| {
            ["supervise", "run"].iter().any(|verb| process.command_line.ends_with(verb))
        };
        agents.into_iter().filter(runs).collect()
    }

    /// The agents that run.
    pub fn agents(&self) -> usize {
        let agents = self.sandbox.processes_with(&["machines/", " agent run"]);
        agents.len()
    }

    /// Sends a signal to supervisor and agent of a machine.
    pub fn signal(&self, name: &str, signal: Signal) {
        for process in self.processes_of(name) {
            process.signal(signal);
        }
    }

    /// Who lives, as one agent that answers sees it.
    pub fn alive(&self) -> BTreeSet<String> {
        self.members("alive").unwrap_or_default()
    }

    /// The members of one status, as an agent that answers sees them.
    pub fn members(&self, status: &str) -> Option<BTreeSet<String>> {
        let run = self.raptor(&["members", "-o", "json"]).run();
        named(&serde_json::from_str::<Vec<Value>>(&run.stdout).ok()?, status)
    }

    /// The members of one status, as one agent sees them.
    pub fn members_at(&self, name: &str, status: &str) -> Option<BTreeSet<String>> {
        let run = self.raptor_at(name, &["members", "-o", "json"])?.run();
        named(&serde_json::from_str::<Vec<Value>>(&run.stdout).ok()?, status)
    }

    /// Lets no UDP packet of these machines' agents, nor one for them, arrive.
    pub fn cut_off(&self, names: &BTreeSet<String>) {
        let run = self.raptor(&["members", "-o", "json"]).success();
        let members: Vec<Value> = serde_json::from_str(&run.stdout).unwrap();
        let cut = members.iter().filter(|member| names.contains(member["name"].as_str().unwrap()));
        let endpoints = cut.flat_map(|member| member["endpoints"].as_array().unwrap());
        let ports: BTreeSet<&str> =
            endpoints.filter_map(|endpoint| Some(endpoint.as_str()?.rsplit_once(':')?.1)).collect();
        let ports: Vec<&str> = ports.into_iter().collect();
        let ports = ports.join(", ");
        let rules = format!(
            "table inet cut {{\n chain input {{\n type filter hook input priority 0;\n udp dport \
             {{ {ports} }} drop\n udp sport {{ {ports} }} drop\n }}\n}}\n"
        );
        self.program("nft").args(["-f", "-"]).stdin(rules).success();
    }

    /// Ends that.
    pub fn mend(&self) {
        self.program("nft").args(["delete", "table", "inet", "cut"]).success();
    }

    /// Leaves no room on the disk.
    pub fn fill_disk(&self) {
        let file = self.sandbox.home().join(FILLER).display().to_string();
        // Ends by itself where there is no more room.
        self.program("dd").args(["if=/dev/zero", &format!("of={file}"), "bs=64k"]).run().status(1);
    }

    /// Makes room again.
    pub fn free_disk(&self) {
        fs::remove_file(self.home().join(FILLER)).unwrap();
    }
}

fn named(members: &[Value], status: &str) -> Option<BTreeSet<String>> {
    let such = members.iter().filter(|member| member["status"] == status);
    such.map(|member| Some(member["name"].as_str()?.to_owned())).collect()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
