//! Processes: those a sandbox started, found by a mark that only they carry, ended by their ids.

use std::fmt;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::wait::try_wait_until;

/// The environment variable that marks every process of a sandbox. Children inherit it, however
/// far they detach themselves.
pub const MARK: &str = "RAPTOR_TEST_SANDBOX";

/// One running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    /// When it started, in ticks since boot: with it a reused id is told apart.
    start_ticks: u64,
    pub command_line: String,
}

impl fmt::Display for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.pid, self.command_line)
    }
}

impl Process {
    /// The process `pid`; none when there is none, or only a zombie of it.
    pub fn find(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        if stat.state == 'Z' {
            return None;
        }
        let raw = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<String> = raw
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        Some(Self { pid, start_ticks: stat.start_ticks, command_line: words.join(" ") })
    }

    /// Whether this very process still runs.
    pub fn is_running(&self) -> bool {
        Self::find(self.pid).is_some_and(|found| found.start_ticks == self.start_ticks)
    }

    /// Sends a signal, if this very process still runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_running()) {
            let _gone_meanwhile = rustix::process::kill_process(pid, signal);
        }
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Panics
    /// When it outlives that.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        let gone = try_wait_until(Duration::from_secs(10), || {
            if self.is_running() { Err(()) } else { Ok(()) }
        });
        assert!(gone.is_ok(), "{self} outlives SIGKILL");
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    }
}

/// What the tests need of `/proc/PID/stat` (proc(5)).
struct Stat {
    state: char,
    parent: i32,
    start_ticks: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the name in brackets and may hold anything, brackets included.
        let rest = &text[text.rfind(')')? + 2..];
        let mut fields = rest.split(' ');
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let start_ticks = fields.nth(17)?.parse().ok()?;
        Some(Self { state, parent, start_ticks })
    }
}

/// All running processes' ids.
fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Every process that carries `mark` in its environment, or in its command line: one that cleans
/// its environment is found by the home folder it was given. This process itself is none.
pub fn marked(mark: &str) -> Vec<Process> {
    let wanted = format!("{MARK}={mark}");
    let own = i32::try_from(std::process::id()).unwrap();
    pids()
        .into_iter()
        .filter(|pid| *pid != own)
        .filter_map(Process::find)
        .filter(|process| {
            let environment =
                fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
            process.command_line.contains(mark)
                || environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
        })
        .collect()
}

/// The children of `pid`, and theirs.
pub fn descendants(pid: i32) -> Vec<Process> {
    let parents: Vec<(i32, i32)> =
        pids().into_iter().filter_map(|child| Some((child, Stat::read(child)?.parent))).collect();
    let mut found = Vec::new();
    let mut open = vec![pid];
    while let Some(parent) = open.pop() {
        let children = parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child);
        open.extend(children.clone());
        found.extend(children.filter_map(Process::find));
    }
    found
}

/// Kills all that `list` finds until it finds nothing.
///
/// # Errors
/// What is left after ten seconds.
pub fn reap(list: impl Fn() -> Vec<Process>) -> Result<(), Vec<Process>> {
    try_wait_until(Duration::from_secs(10), || {
        let left = list();
        for process in &left {
            process.signal(Signal::KILL);
        }
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
}
