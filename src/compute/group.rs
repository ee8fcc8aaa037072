//! A program with all that it starts, as one process group: ended politely first, then not.

use std::io;
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process_group;
use rustix::process::test_kill_process_group;
use tokio::process::Child;
use tokio::process::ChildStderr;
use tokio::process::ChildStdin;
use tokio::process::ChildStdout;
use tokio::process::Command;

/// Between `SIGTERM` and `SIGKILL`.
pub(super) const GRACE: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running program that leads a group of its own. Dropped, it and its children are ended.
pub(super) struct Group {
    child: Child,
    /// None once the program has ended by itself.
    id: Option<Pid>,
}

impl Group {
    /// Starts `command` in a group of its own: Ctrl-C at the terminal is answered by us.
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, id })
    }

    pub(super) fn streams(
        &mut self,
    ) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take())
    }

    /// Waits for the program's end. What it left in its group goes on.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.id = None;
        Ok(status)
    }

    /// Ends the whole group: `SIGTERM`, and `SIGKILL` for what is left after [`GRACE`].
    pub(super) async fn end(&mut self) {
        let Some(group) = self.id else { return };
        let _ = kill_process_group(group, Signal::TERM);
        let _ = tokio::time::timeout(GRACE, self.child.wait()).await;
        // Also when the leader went: what it left behind goes too.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait().await;
        self.id = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(group) = self.id.take() else { return };
        let _ = kill_process_group(group, Signal::TERM);
        // A drop cannot wait; whoever dropped it goes on meanwhile.
        let _ = thread::Builder::new().name("end of a group".to_owned()).spawn(move || {
            let deadline = Instant::now() + GRACE;
            while Instant::now() < deadline {
                if test_kill_process_group(group).is_err() {
                    return;
                }
                thread::sleep(POLL_INTERVAL);
            }
            let _ = kill_process_group(group, Signal::KILL);
        });
    }
}
