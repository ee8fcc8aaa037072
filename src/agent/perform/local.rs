//! Machines that are process groups on this computer: their agents are started right here.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
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
    let log_path = home.log_file();
    rotate_log(&log_path).map_err(|error| failed(step)(&error))?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log_path)
        .map_err(|error| failed(step)(&error))?;
    let errors = log.try_clone().map_err(|error| failed(step)(&error))?;
    let log_start = log.metadata().map_or(0, |metadata| metadata.len());
    Command::new("/proc/self/exe")
        .arg0("raptor")
        .arg("--home")
        .arg(home.root())
        .args(["agent", "supervise"])
        .env_remove("RAPTOR_HOME")
        .env_remove("RAPTOR_CLUSTER")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|error| failed(step)(&error))?;
    Ok(log_start)
}
