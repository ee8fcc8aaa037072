//! Processes seen from outside: whose they are, the memory they hold, the time they took.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Process ids whose command line contains every one of `words`.
pub fn processes_with(words: &[&str]) -> Vec<u32> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let raw = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&raw).replace('\0', " ");
        if pid != own && words.iter().all(|word| line.contains(word)) {
            found.push(pid);
        }
    }
    found
}

/// The supervisor and the agent whose home is `folder`, the supervisor first: killed in this order
/// no other agent is started.
pub fn processes_of(folder: &Path) -> Vec<u32> {
    let home = format!("--home {} ", folder.display());
    let [supervisors, agents] =
        ["agent supervise", "agent run"].map(|command| processes_with(&["raptor", &home, command]));
    [supervisors, agents].concat()
}

/// Ends processes without a chance to say goodbye.
pub fn kill(pids: &[u32]) {
    for pid in pids {
        // One that is gone already is as good.
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
    }
}

/// Time on a processor, in user and system mode, from the nanoseconds of `schedstat` of every
/// thread: `stat` counts in ticks of 10 ms, too coarse for 0.2 % of a minute.
pub fn processor_time(pid: u32) -> Duration {
    let mut nanoseconds = 0_u64;
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
    }
    Duration::from_nanos(nanoseconds)
}

/// Times its threads gave the processor back by themselves, which is how often they woke.
pub fn wakeups(pid: u32) -> u64 {
    let mut count = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        count += field(&task.path().join("status"), "voluntary_ctxt_switches:");
    }
    count
}

/// Memory, in megabytes of 10^6 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// All resident pages (`VmRSS`), among them those of the program file, which all agents of one
    /// computer share.
    pub resident: f64,
    /// Those that belong to nobody else (`RssAnon`).
    pub own: f64,
    /// Resident pages, shared ones divided among those who share them (`Pss`).
    pub proportional: f64,
}

impl Memory {
    /// What `pid` holds.
    pub fn of(pid: u32) -> Self {
        let folder = format!("/proc/{pid}");
        let megabytes = |file: &str, name| {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52 kilobytes")]
            let kilobytes = field(&Path::new(&folder).join(file), name) as f64;
            kilobytes * 1024.0 / 1e6
        };
        Self {
            resident: megabytes("status", "VmRSS:"),
            own: megabytes("status", "RssAnon:"),
            proportional: megabytes("smaps_rollup", "Pss:"),
        }
    }
}

/// The number behind `name` in a file of `/proc`.
fn field(file: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// One spinning process for each core. Ended when dropped.
pub struct Load(Vec<Child>);

impl Load {
    /// Begins to spin.
    pub fn on_every_core() -> Self {
        let cores = std::thread::available_parallelism().unwrap().get();
        let spin = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        Self((0..cores).map(|_| spin()).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Its end is waited for, so that none of it is left in the next figure.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
