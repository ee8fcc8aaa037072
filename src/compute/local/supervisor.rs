//! The process group of a local machine: `agent/supervisor.json` in its home names the leader.

use std::fs;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use serde::Deserialize;
use serde::Serialize;

use crate::compute::error::Cause;
use crate::compute::local::process;
use crate::compute::local::process::Process;

/// Where the record lies in a machine's home.
pub const FILE: &str = "agent/supervisor.json";
const VERSION: u32 = 1;

/// How long the system may take to end it.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The leader of a machine's process group. The supervisor writes it when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorRecord {
    /// Version of this record.
    #[serde(default)]
    pub version: u32,
    /// The leader's id, and so the group's.
    pub pid: i32,
    /// When it started (field 22 of `/proc/PID/stat`): a reused id is never taken for it.
    pub start_ticks: u64,
}

impl SupervisorRecord {
    /// The record of the calling process; none where there is no `/proc`.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let process = Process::read(rustix::process::getpid().as_raw_nonzero().get())?;
        let Process { pid, start_ticks, .. } = process;
        Some(Self { version: VERSION, pid, start_ticks })
    }

    /// Writes the record into the machine's home, in one step, for this user alone.
    ///
    /// # Errors
    /// When `home/agent` is not there or not writable.
    pub fn write(&self, home: &Path) -> io::Result<()> {
        let path = home.join(FILE);
        let staging = path.with_extension("json.new");
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&staging)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&staging, &path)
    }

    /// The record in this home, if there is a sound one.
    #[must_use]
    pub fn read(home: &Path) -> Option<Self> {
        let record: Self = serde_json::from_slice(&fs::read(home.join(FILE)).ok()?).ok()?;
        // 0 and negative ids mean whole groups to kill(2), and 1 is the system's own.
        (record.pid > 1).then_some(record)
    }

    /// Whether the process with the leader's id is the leader, alive or not yet looked after.
    fn leader(&self) -> Option<Process> {
        Process::read(self.pid).filter(|process| process.start_ticks == self.start_ticks)
    }

    /// The machine's processes that have not ended. With its leader in place the group is its own;
    /// without, it is when a member was started with the machine's home as an argument. (No process
    /// is given an id that is still a group's, so one that has the leader's id has no old group.)
    fn alive(&self, home: &Path) -> Vec<Process> {
        match self.leader() {
            Some(leader) if leader.group != self.pid => {
                Some(leader).filter(|leader| !leader.ended).into_iter().collect()
            }
            Some(_) => process::group_members(self.pid),
            None if Process::read(self.pid).is_some() => Vec::new(),
            None => {
                let members = process::group_members(self.pid);
                let ours = members.iter().any(|member| {
                    member.start_ticks >= self.start_ticks && member.has_argument(home)
                });
                if ours { members } else { Vec::new() }
            }
        }
    }

    /// Whether any of the machine's processes has not ended.
    #[must_use]
    pub fn is_alive(&self, home: &Path) -> bool {
        // Who asks again and again asks for one process in most cases, not for all there are.
        self.leader().is_some_and(|leader| !leader.ended) || !self.alive(home).is_empty()
    }

    fn signal(&self, alive: &[Process], signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        // One that ended in between is what was wanted, so no result is looked at: whoever does not
        // end is seen by the caller.
        let _ = if alive.iter().any(|process| process.group == self.pid) {
            rustix::process::kill_process_group(pid, signal)
        } else {
            rustix::process::kill_process(pid, signal)
        };
    }
}

/// Whether any process of the machine with this home is alive.
#[must_use]
pub fn is_running(home: &Path) -> bool {
    SupervisorRecord::read(home).is_some_and(|record| record.is_alive(home))
}

/// Ends the machine's process group: asks, waits for `patience`, and then insists.
///
/// # Errors
/// When one of its processes is alive at the end.
pub async fn stop(home: &Path, patience: Duration) -> Result<(), Cause> {
    let Some(record) = SupervisorRecord::read(home) else { return Ok(()) };
    for (signal, timeout) in [(Signal::TERM, patience), (Signal::KILL, KILL_TIMEOUT)] {
        let deadline = Instant::now() + timeout;
        let mut alive = record.alive(home);
        if !alive.is_empty() {
            record.signal(&alive, signal);
        }
        while !alive.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(POLL_INTERVAL).await;
            alive = record.alive(home);
        }
        if alive.is_empty() {
            return Ok(());
        }
    }
    match record.alive(home).first() {
        Some(process) => Err(Cause::DoesNotEnd { pid: process.pid }),
        None => Ok(()),
    }
}
