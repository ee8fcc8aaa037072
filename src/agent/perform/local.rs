//! Machines that are process groups on this computer: their agents are started right here.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use tokio::sync::OwnedMutexGuard;

use crate::agent::api::Bootstrap;
use crate::agent::error::chain;
use crate::agent::initialise;
use crate::agent::initialise::InitReply;
use crate::agent::machine_file::InitRequest;
use crate::agent::supervise::rotate_log;
use crate::config::home::Home;
use crate::model::name::Name;

/// Most that is read of what an agent says of its start, in bytes.
const FAULT_LENGTH_MAX: u64 = 64 * 1024;

/// A local machine's step that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {why}")]
pub struct LocalError {
    /// What was being done.
    pub step: &'static str,
    /// Why it failed.
    pub why: String,
}

fn failed(step: &'static str) -> impl FnOnce(&dyn std::error::Error) -> LocalError {
    move |error| LocalError { step, why: chain(error) }
}

/// Held while a thread writes into a machine's home: it goes on when the task that waits for it is
/// broken off, and what undoes the machine has to wait for its end.
pub type AtWork = OwnedMutexGuard<()>;

/// Gives the machine its key and name, in a thread that may wait for the disk.
///
/// # Errors
/// As [`LocalError`] says.
pub async fn initialise(
    home: Home,
    request: InitRequest,
    at_work: AtWork,
) -> Result<InitReply, LocalError> {
    let work = move || {
        let _at_work = at_work;
        initialise::initialise(&home, &request)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(|error| failed("give it a key")(&error)),
        Err(error) => Err(failed("give it a key")(&error)),
    }
}

/// Tells the machine of its cluster, in a thread that may wait for the disk.
///
/// # Errors
/// As [`LocalError`] says.
pub async fn adopt(home: Home, bootstrap: Bootstrap, at_work: AtWork) -> Result<(), LocalError> {
    let step = "tell it of the cluster";
    let work = move || {
        let _at_work = at_work;
        initialise::adopt(&home, &bootstrap, false)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map(drop).map_err(|error| failed(step)(&error)),
        Err(error) => Err(failed(step)(&error)),
    }
}

/// Starts the supervisor of the agent in `home`, in a session of its own. It writes
/// `agent/supervisor.json` before it starts the agent. Tells where in its log its words begin.
///
/// # Errors
/// As [`LocalError`] says.
pub fn start(home: &Home) -> Result<u64, LocalError> {
    let step = "start its agent";
    let mut command = own_program(home, home, step)?;
    let log_start = std::fs::metadata(home.log_file()).map_or(0, |metadata| metadata.len());
    command.args(["agent", "supervise"]);
    run_apart(command, step)?;
    Ok(log_start)
}

/// Why an agent does not start, by its own word in its log from `start` on.
#[must_use]
pub fn fault_in(log: &Path, start: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut text = String::new();
    file.take(FAULT_LENGTH_MAX).read_to_string(&mut text).ok()?;
    let fault = text.lines().find_map(|line| line.strip_prefix("error: "))?;
    Some(format!("it does not start: {fault}"))
}

/// Has the machine `name`, whose agent runs in `own`, destroyed by a process of its own: what
/// destroys it ends that agent, too. `operator` is the home from which machines are made.
///
/// # Errors
/// As [`LocalError`] says.
pub fn destroy_from_outside(operator: &Home, own: &Home, name: &Name) -> Result<(), LocalError> {
    let step = "begin its end";
    let mut command = own_program(operator, own, step)?;
    let socket = format!("unix:{}", own.socket_file().display());
    command.args(["--connect", &socket, "destroy", name.as_str(), "--yes"]);
    // The end of the agent's process group is not the end of this one.
    command.process_group(0);
    run_apart(command, step)
}

/// This very program with `home`, writing into the log of the agent in `own`.
fn own_program(home: &Home, own: &Home, step: &'static str) -> Result<Command, LocalError> {
    let log_path = own.log_file();
    rotate_log(&log_path).map_err(|error| failed(step)(&error))?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log_path)
        .map_err(|error| failed(step)(&error))?;
    let errors = log.try_clone().map_err(|error| failed(step)(&error))?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("raptor")
        .arg("--home")
        .arg(home.root())
        .env_remove("RAPTOR_HOME")
        .env_remove("RAPTOR_CLUSTER")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    Ok(command)
}

fn run_apart(command: Command, step: &'static str) -> Result<(), LocalError> {
    // The runtime looks after it when it ends before this program does.
    let started = tokio::process::Command::from(command).spawn();
    started.map(drop).map_err(|error| failed(step)(&error))
}
