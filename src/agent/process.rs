//! Running a program on this machine for somebody else, with its output as it comes.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process_group;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::process::Child;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::agent::api::ExecStream;

/// Most bytes of output in one event.
const CHUNK_SIZE: usize = 16 * 1024;

/// Events that wait for a slow reader before the program itself is made to wait.
pub const EVENT_QUEUE: usize = 32;

/// Time between asking a program to end and ending it.
const GRACE: Duration = Duration::from_secs(2);

/// What happens to a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It runs.
    Started,
    /// It wrote something.
    Output(ExecStream, Bytes),
    /// It ended; 128 + N when signal N ended it, as shells say it.
    Exited(i32),
    /// It never ran, or was ended; why.
    Failed(String),
}

/// Runs `argv` in a process group of its own and sends what happens to `events`. Ends the whole
/// group when `limit` has passed or when nobody listens any more.
pub async fn run(argv: &[String], limit: Duration, events: mpsc::Sender<ProcessEvent>) {
    let mut child = match spawn(argv) {
        Ok(child) => child,
        Err(reason) => {
            let _ = events.send(ProcessEvent::Failed(reason)).await;
            return;
        }
    };
    let _ = events.send(ProcessEvent::Started).await;
    let streams = forward_both(&mut child, &events);
    let finished = tokio::select! {
        ((), ()) = streams => true,
        () = events.closed() => false,
        () = tokio::time::sleep(limit) => false,
    };
    let last = if finished {
        // Both streams are closed; a program that closed them and runs on has until the limit.
        match timeout(limit, child.wait()).await {
            Ok(Ok(status)) => ProcessEvent::Exited(exit_code(status)),
            Ok(Err(error)) => ProcessEvent::Failed(format!("cannot wait for it: {error}")),
            Err(_) => timed_out(limit),
        }
    } else {
        timed_out(limit)
    };
    if matches!(last, ProcessEvent::Failed(_)) {
        end(&mut child).await;
    }
    let _ = events.send(last).await;
}

fn timed_out(limit: Duration) -> ProcessEvent {
    let limit = humantime::format_duration(limit);
    ProcessEvent::Failed(format!("did not end within {limit} and was stopped"))
}

fn spawn(argv: &[String]) -> Result<Child, String> {
    let (program, arguments) = argv.split_first().ok_or("no program was named")?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{program}: {error}"))
}

async fn forward_both(child: &mut Child, events: &mpsc::Sender<ProcessEvent>) -> ((), ()) {
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    tokio::join!(
        forward(stdout, ExecStream::Stdout, events),
        forward(stderr, ExecStream::Stderr, events)
    )
}

async fn forward(
    reader: Option<impl AsyncRead + Unpin>,
    stream: ExecStream,
    events: &mpsc::Sender<ProcessEvent>,
) {
    let Some(mut reader) = reader else { return };
    let mut buffer = vec![0u8; CHUNK_SIZE];
    while let Ok(length) = reader.read(&mut buffer).await {
        if length == 0 {
            break;
        }
        let chunk = Bytes::copy_from_slice(&buffer[..length]);
        if events.send(ProcessEvent::Output(stream, chunk)).await.is_err() {
            break;
        }
    }
}

/// The exit status as shells number it.
#[must_use]
pub fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Ends the program's whole group: first politely, then not.
async fn end(child: &mut Child) {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let Some(group) = group else { return };
    let _ = kill_process_group(group, Signal::TERM);
    if timeout(GRACE, child.wait()).await.is_err() {
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait().await;
    } else {
        // The leader is gone; what it left behind in its group goes too.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collect(argv: &[&str], limit: Duration) -> Vec<ProcessEvent> {
        let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        let (sender, mut receiver) = mpsc::channel(EVENT_QUEUE);
        let running = tokio::spawn(async move { run(&argv, limit, sender).await });
        let mut events = Vec::new();
        while let Some(event) = receiver.recv().await {
            events.push(event);
        }
        running.await.unwrap();
        events
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn output_and_exit_status_are_told() {
        let events = collect(&["sh", "-c", "echo out; echo err >&2; exit 3"], LONG).await;
        assert_eq!(events.first(), Some(&ProcessEvent::Started));
        assert!(events.contains(&ProcessEvent::Output(ExecStream::Stdout, "out\n".into())));
        assert!(events.contains(&ProcessEvent::Output(ExecStream::Stderr, "err\n".into())));
        assert_eq!(events.last(), Some(&ProcessEvent::Exited(3)));
    }

    #[tokio::test]
    async fn death_by_signal_counts_as_shells_count() {
        let events = collect(&["sh", "-c", "kill -9 $$"], LONG).await;
        assert_eq!(events.last(), Some(&ProcessEvent::Exited(137)));
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let events = collect(&["/nonexistent/program"], LONG).await;
        let [ProcessEvent::Failed(reason)] = events.as_slice() else { panic!("{events:?}") };
        assert!(reason.starts_with("/nonexistent/program: "), "{reason}");
    }

    #[tokio::test]
    async fn a_program_over_its_time_is_ended_with_its_children() {
        let script = "sleep 1000 & echo $!; wait";
        let events = collect(&["sh", "-c", script], Duration::from_millis(200)).await;
        let Some(ProcessEvent::Failed(reason)) = events.last() else { panic!("{events:?}") };
        assert!(reason.contains("200ms"), "{reason}");
        let child = events.iter().find_map(|event| match event {
            ProcessEvent::Output(_, bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        });
        let stat = format!("/proc/{}/stat", child.unwrap().trim());
        let gone = std::fs::read_to_string(stat).map_or(true, |text| text.contains(" Z "));
        assert!(gone, "the background child survived");
    }
}
