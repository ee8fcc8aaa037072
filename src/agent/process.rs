//! Running a program on this machine for somebody else, with its output as it comes.

use std::ffi::OsString;
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
use tokio::sync::watch;
use tokio::time::timeout;

use crate::agent::api::ExecStream;
use crate::agent::outside;
use crate::agent::outside::Channel;

/// Most bytes of output in one event.
const CHUNK_SIZE: usize = 16 * 1024;

/// Events that wait for a slow reader before the program itself is made to wait.
pub const EVENT_QUEUE: usize = 32;

/// Time between asking a program to end and ending it.
const GRACE: Duration = Duration::from_secs(2);

/// What happens to a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEvent {
    /// The machine has taken it on.
    Started,
    /// It wrote something.
    Output(ExecStream, Bytes),
    /// It ended; 128 + N when signal N ended it, as shells say it.
    Exited(i32),
    /// It never ran, or was ended; why.
    Failed(String),
}

/// How long a program that has ended is still listened to when something it left behind holds its
/// output open and says nothing.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// Runs `argv` in a process group of its own and sends what happens to `events`. Ends the whole
/// group when `limit` has passed or when nobody listens any more, and when this is dropped.
pub async fn run(argv: &[String], limit: Duration, events: mpsc::Sender<ProcessEvent>) {
    run_with(argv, Stdio::null(), limit, events).await;
}

/// As [`run`], with something to read.
pub async fn run_with(
    argv: &[String],
    input: Stdio,
    limit: Duration,
    events: mpsc::Sender<ProcessEvent>,
) {
    let _ = events.send(ProcessEvent::Started).await;
    let mut group = match spawn(argv, input) {
        Ok(group) => group,
        Err(reason) => {
            let _ = events.send(ProcessEvent::Failed(reason)).await;
            return;
        }
    };
    let deadline = tokio::time::sleep(limit);
    let last = tokio::select! {
        status = converse(&mut group, &events) => match status {
            Ok(status) => ProcessEvent::Exited(exit_code(status)),
            Err(error) => ProcessEvent::Failed(format!("cannot wait for it: {error}")),
        },
        () = events.closed() => ProcessEvent::Failed("nobody listens any more".to_owned()),
        () = deadline => {
            let limit = humantime::format_duration(limit);
            ProcessEvent::Failed(format!("did not end within {limit} and was stopped"))
        }
    };
    match last {
        // What it left running in the background was meant to stay.
        ProcessEvent::Exited(_) => group.release(),
        _ => group.end().await,
    }
    let _ = events.send(last).await;
}

fn spawn(argv: &[String], input: Stdio) -> Result<Group, String> {
    let program = argv.first().ok_or("no program was named")?;
    Group::spawn(argv, |command| {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    })
    .map_err(|error| format!("{program}: {error}"))
}

/// Tells of the program until it and its output have ended.
async fn converse(
    group: &mut Group,
    events: &mpsc::Sender<ProcessEvent>,
) -> std::io::Result<ExitStatus> {
    let stdout = group.child.stdout.take();
    let stderr = group.child.stderr.take();
    let (gone, is_gone) = watch::channel(false);
    let (status, (), ()) = tokio::join!(
        async {
            let status = group.child.wait().await;
            gone.send_replace(true);
            status
        },
        forward(stdout, ExecStream::Stdout, is_gone.clone(), events),
        forward(stderr, ExecStream::Stderr, is_gone, events),
    );
    status
}

async fn forward(
    reader: Option<impl AsyncRead + Unpin>,
    stream: ExecStream,
    mut is_gone: watch::Receiver<bool>,
    events: &mpsc::Sender<ProcessEvent>,
) {
    let Some(mut reader) = reader else { return };
    let mut buffer = vec![0u8; CHUNK_SIZE];
    while let Some(length) = read_until_gone(&mut reader, &mut buffer, &mut is_gone).await {
        let chunk = Bytes::copy_from_slice(&buffer[..length]);
        if events.send(ProcessEvent::Output(stream, chunk)).await.is_err() {
            break;
        }
    }
}

/// Reads what a program wrote; none at the end of it, or when the program is gone and what it left
/// behind is silent.
pub(super) async fn read_until_gone(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
    is_gone: &mut watch::Receiver<bool>,
) -> Option<usize> {
    let silence = async {
        // A sender that is gone means the same as one that spoke.
        let _ = is_gone.wait_for(|gone| *gone).await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        biased;
        read = reader.read(buffer) => read.ok().filter(|length| *length > 0),
        () = silence => None,
    }
}

/// A program with all that it starts: a process group of its own, ended when this is dropped.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) child: Child,
    id: Option<Pid>,
    /// The unit in which the program runs, when it is not the agent's own child.
    unit: Option<String>,
}

impl Group {
    /// Starts `argv` as the leader of a group, with the pipes that `connect` gives it. It learns
    /// nothing of how this agent was started.
    pub(super) fn spawn(
        argv: &[String],
        connect: impl FnOnce(&mut Command),
    ) -> std::io::Result<Self> {
        let outside = outside::program(argv, Channel::Pipes)?;
        let (program, arguments) =
            outside.argv.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments);
        connect(&mut command);
        for name in own_settings() {
            command.env_remove(name);
        }
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        Ok(Self::of(child, outside.unit))
    }

    /// The group that `child` leads, and the unit behind it.
    pub(super) fn of(child: Child, unit: Option<String>) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { child, id, unit }
    }

    fn signal(&self, signal: Signal) {
        let Some(group) = self.id else { return };
        // What started a unit ends with it by itself. It goes before the unit is killed: what it
        // asked for last is there by then.
        if self.unit.is_none() || signal == Signal::KILL {
            let _ = kill_process_group(group, signal);
        }
        if let Some(unit) = &self.unit {
            outside::signal(unit, signal);
        }
    }

    /// Ends the whole group: first politely, then not.
    async fn end(mut self) {
        self.signal(Signal::TERM);
        let _ = timeout(GRACE, self.child.wait()).await;
        // Also when the leader went: what it left behind in its group goes too.
        self.signal(Signal::KILL);
        let _ = self.child.wait().await;
        self.release();
    }

    /// The program has ended by itself: what is left of its group stays.
    pub(super) fn release(mut self) {
        self.id = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The variables that steer raptor itself: they were meant for whoever started the agent.
pub(super) fn own_settings() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.to_str().is_some_and(|name| name.starts_with("RAPTOR_")))
}

/// The exit status as shells number it.
#[must_use]
pub fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
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
        let [ProcessEvent::Started, ProcessEvent::Failed(reason)] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert!(reason.starts_with("/nonexistent/program: "), "{reason}");
    }

    #[tokio::test]
    async fn a_program_over_its_time_is_ended_with_its_children() {
        let script = "sleep 1000 & echo $!; wait";
        // Long enough for a busy machine to start it and hear its first line.
        let events = collect(&["sh", "-c", script], Duration::from_secs(2)).await;
        let Some(ProcessEvent::Failed(reason)) = events.last() else { panic!("{events:?}") };
        assert!(reason.contains("2s"), "{reason}");
        let child = events.iter().find_map(|event| match event {
            ProcessEvent::Output(_, bytes) => String::from_utf8_lossy(bytes).trim().parse().ok(),
            _ => None,
        });
        wait_until_gone(child.expect("it printed its child")).await;
    }

    /// The process id that a program printed on its first line.
    async fn printed(receiver: &mut mpsc::Receiver<ProcessEvent>) -> u32 {
        loop {
            if let ProcessEvent::Output(_, bytes) = receiver.recv().await.unwrap() {
                return String::from_utf8_lossy(&bytes).trim().parse().unwrap();
            }
        }
    }

    async fn wait_until_gone(process: u32) {
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
            stat.map_or(true, |text| text.contains(") Z "))
        };
        let gone = async {
            while !is_gone() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), gone).await.expect("it survived");
    }

    fn sleeper() -> Vec<String> {
        ["sh", "-c", "sleep 1000 & echo $!; wait"].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn when_nobody_listens_it_is_ended_with_its_children() {
        let (sender, mut receiver) = mpsc::channel(EVENT_QUEUE);
        let running = tokio::spawn(async move { run(&sleeper(), LONG, sender).await });
        let child = printed(&mut receiver).await;
        drop(receiver);
        wait_until_gone(child).await;
        running.await.unwrap();
    }

    #[tokio::test]
    async fn when_its_run_is_dropped_it_is_ended_with_its_children() {
        let (sender, mut receiver) = mpsc::channel(EVENT_QUEUE);
        let running = tokio::spawn(async move { run(&sleeper(), LONG, sender).await });
        let child = printed(&mut receiver).await;
        running.abort();
        wait_until_gone(child).await;
    }

    #[tokio::test]
    async fn what_it_leaves_in_the_background_is_not_waited_for_and_stays() {
        let events = collect(&["sh", "-c", "sleep 1000 & echo $!"], LONG).await;
        assert_eq!(events.last(), Some(&ProcessEvent::Exited(0)));
        let Some(ProcessEvent::Output(_, bytes)) = events.get(1) else { panic!("{events:?}") };
        let child: i32 = String::from_utf8_lossy(bytes).trim().parse().unwrap();
        let child = Pid::from_raw(child).unwrap();
        rustix::process::kill_process(child, Signal::KILL).expect("it was ended");
    }

    #[tokio::test]
    async fn a_flood_of_output_waits_for_its_reader_and_arrives_whole() {
        let script = "head -c 3000000 /dev/zero";
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let (sender, mut receiver) = mpsc::channel(1);
        let running = tokio::spawn(async move { run(&argv, LONG, sender).await });
        let mut bytes = 0;
        while let Some(event) = receiver.recv().await {
            if let ProcessEvent::Output(_, chunk) = event {
                bytes += chunk.len();
                tokio::task::yield_now().await;
            }
        }
        running.await.unwrap();
        assert_eq!(bytes, 3_000_000);
    }
}
