//! The agent's own supervisor, for machines without one: starts the agent, starts it again when it
//! dies, and passes on the wish to end.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use tokio::process::Child;
use tokio::process::Command;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::time::timeout;

/// Exit status of an agent that a new start would not help (`EX_CONFIG` of sysexits.h): another one
/// runs, or the cluster put the machine out.
pub const EXIT_NO_RESTART: i32 = 78;

/// First pause before a restart; doubles with each early death.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// An agent that ran this long died of something new: the pause starts over.
const SETTLED: Duration = Duration::from_secs(30);
/// Time an agent has to say goodbye before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// The log is put aside at this size, so that a machine's disk never fills with it.
const LOG_SIZE_MAX: u64 = 4 * 1024 * 1024;

/// How often the log's size is looked at: members can make each other write lines.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Leaves the caller's terminal and process group, so that neither's end ends the agent.
pub fn detach() {
    // Refused only to a leader of a process group, which has left its parent's already.
    let _ = rustix::process::setsid();
}

/// Puts a grown log aside as `PATH.1`.
///
/// # Errors
/// When it cannot be renamed.
pub fn rotate_log(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > LOG_SIZE_MAX => {
            let mut aside = path.as_os_str().to_owned();
            aside.push(".1");
            std::fs::rename(path, PathBuf::from(aside))
        }
        _ => Ok(()),
    }
}

/// Puts a grown log aside as `PATH.1` while it is written to: its content is copied and the file
/// emptied, because whoever writes to it holds it open (for appending).
///
/// # Errors
/// When it cannot be copied or emptied.
pub fn shorten_log(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > LOG_SIZE_MAX => {
            let mut aside = path.as_os_str().to_owned();
            aside.push(".1");
            std::fs::copy(path, PathBuf::from(aside))?;
            std::fs::OpenOptions::new().write(true).open(path)?.set_len(0)
        }
        _ => Ok(()),
    }
}

/// Keeps the log at `path` short.
async fn watch_log(path: &Path) {
    loop {
        tokio::time::sleep(LOG_INTERVAL).await;
        if let Err(error) = shorten_log(path) {
            tracing::debug!(%error, "the log was not put aside");
        }
    }
}

/// Runs `raptor ARGUMENTS` until it ends by its own wish or until this process is told to end.
/// Returns the exit status to end with. Keeps the `log`, into which both write, short.
///
/// # Errors
/// When signals cannot be received or the program cannot be started at all.
pub async fn supervise(arguments: &[String], log: &Path) -> io::Result<i32> {
    tokio::select! {
        status = restart(arguments) => status,
        () = watch_log(log) => Ok(0),
    }
}

async fn restart(arguments: &[String]) -> io::Result<i32> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut pause = PAUSE_MIN;
    loop {
        let started = Instant::now();
        // The link to the running program stays good when the file is replaced or removed.
        let mut child = Command::new("/proc/self/exe")
            .arg0("raptor")
            .args(arguments)
            .kill_on_drop(true)
            .spawn()?;
        let status = tokio::select! {
            status = child.wait() => status?,
            _ = terminate.recv() => return end(child).await,
            _ = interrupt.recv() => return end(child).await,
        };
        if matches!(status.code(), Some(0 | EXIT_NO_RESTART)) {
            return Ok(status.code().unwrap_or_default());
        }
        pause = next_pause(pause, started.elapsed());
        tracing::warn!(%status, pause_ms = pause.as_millis(), "the agent died; it starts again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = terminate.recv() => return Ok(0),
            _ = interrupt.recv() => return Ok(0),
        }
    }
}

fn next_pause(pause: Duration, ran: Duration) -> Duration {
    if ran >= SETTLED { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) }
}

async fn end(mut child: Child) -> io::Result<i32> {
    let process = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(process) = process {
        let _ = kill_process(process, Signal::TERM);
    }
    if let Ok(status) = timeout(GRACE, child.wait()).await {
        Ok(status?.code().unwrap_or_default())
    } else {
        child.kill().await?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_start_over() {
        let early = Duration::from_secs(1);
        let pauses: Vec<_> =
            std::iter::successors(Some(PAUSE_MIN), |&last| Some(next_pause(last, early)))
                .take(10)
                .collect();
        assert!(pauses.is_sorted());
        assert_eq!(pauses.last(), Some(&PAUSE_MAX));
        assert_eq!(next_pause(PAUSE_MAX, SETTLED), PAUSE_MIN);
    }

    #[test]
    fn a_grown_log_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.log");
        rotate_log(&path).unwrap();
        std::fs::write(&path, vec![b'x'; 100]).unwrap();
        rotate_log(&path).unwrap();
        assert!(path.exists());
        std::fs::write(&path, vec![b'x'; 4 * 1024 * 1024 + 1]).unwrap();
        let mut writer = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        shorten_log(&path).unwrap();
        std::io::Write::write_all(&mut writer, b"on").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"on");
        std::fs::write(&path, vec![b'x'; 4 * 1024 * 1024 + 1]).unwrap();
        rotate_log(&path).unwrap();
        assert!(!path.exists() && folder.path().join("agent.log.1").exists());
    }
}
