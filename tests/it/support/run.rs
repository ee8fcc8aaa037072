//! One run of the built binary: what is asked, and what came of it.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::wait::{try_wait_until, wait_until};

/// How long a command may take unless the test says otherwise.
const DEFAULT_LIMIT: Duration = Duration::from_secs(60);
/// How long output may stay open once the program has ended: longer means that a process it left
/// behind holds it.
const OUTPUT_LIMIT: Duration = Duration::from_secs(3);

/// A command to be run.
pub struct Invocation {
    command: Command,
    stdin: Vec<u8>,
    limit: Duration,
}

impl Invocation {
    /// Runs `program` with nothing of the caller's environment but the given.
    pub fn new(program: impl AsRef<OsStr>, environment: &[(OsString, OsString)]) -> Self {
        let mut command = Command::new(program);
        command.env_clear().envs(environment.iter().map(|(key, value)| (key, value)));
        Self { command, stdin: Vec::new(), limit: DEFAULT_LIMIT }
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// What the program reads.
    pub fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = text.into();
        self
    }

    /// How long it may take.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not end in time, or something it left behind holds its output open.
    pub fn run(self) -> Run {
        let limit = self.limit;
        self.start().finish(limit)
    }

    /// Runs it, and expects exit status 0.
    pub fn success(self) -> Run {
        self.run().success()
    }

    /// Starts it and leaves it running.
    pub fn start(mut self) -> Running {
        let text = std::mem::take(&mut self.stdin);
        let (running, mut stdin) = self.start_for_typing();
        // A program that does not read its input closes it: that is no failure of the test.
        thread::spawn(move || drop(stdin.write_all(&text)));
        running
    }

    /// As [`Self::start`]; what it reads is typed by the test.
    pub fn start_for_typing(mut self) -> (Running, ChildStdin) {
        let line = command_line(&self.command);
        let started = Instant::now();
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|why| panic!("{line}: {why}"));
        let stdin = child.stdin.take().unwrap();
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        (Running { child, line, started, stdout, stderr, seen: String::new() }, stdin)
    }
}

fn command_line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        write!(line, " {}", argument.to_string_lossy()).unwrap();
    }
    line
}

/// Collects what is read; each piece goes out as it comes, so that a hung reader hides nothing.
fn collect(mut source: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = source.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Takes all pieces until the writer closes. The flag tells whether it did by `deadline`.
fn drain(pieces: &mpsc::Receiver<Vec<u8>>, deadline: Instant) -> (String, bool) {
    let mut bytes = Vec::new();
    let closed = loop {
        match pieces.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(piece) => bytes.extend(piece),
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
        }
    };
    (String::from_utf8_lossy(&bytes).into_owned(), closed)
}

/// A command that runs. Dropped, it is killed with its process group.
pub struct Running {
    child: Child,
    line: String,
    started: Instant,
    stdout: mpsc::Receiver<Vec<u8>>,
    stderr: mpsc::Receiver<Vec<u8>>,
    /// Standard output that was looked at already.
    seen: String,
}

impl Running {
    /// Whether it has written `part` to standard output.
    pub fn printed(&mut self, part: &str) -> bool {
        self.seen.extend(
            self.stdout.try_iter().map(|piece| String::from_utf8_lossy(&piece).into_owned()),
        );
        self.seen.contains(part)
    }

    /// The first `count` lines of its standard output, once they are there.
    pub fn lines(&mut self, count: usize) -> Vec<String> {
        wait_until(DEFAULT_LIMIT, &format!("{count} lines of {}", self.line), || {
            self.printed("");
            let whole = self.seen.rfind('\n').map_or("", |end| &self.seen[..end]);
            let lines: Vec<String> = whole.lines().take(count).map(str::to_owned).collect();
            assert!(lines.len() == count || self.is_running(), "ended: {}", self.line);
            if lines.len() == count { Ok(lines) } else { Err(self.seen.clone()) }
        })
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Sends a signal to it alone.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid()) {
            let _gone_meanwhile = rustix::process::kill_process(pid, signal);
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// As [`Invocation::run`].
    pub fn finish(mut self, limit: Duration) -> Run {
        let ended = try_wait_until(limit, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("still running".to_owned()),
            Err(why) => Err(why.to_string()),
        });
        let took = self.started.elapsed();
        if ended.is_err() {
            self.kill_group();
        }
        let deadline = Instant::now() + OUTPUT_LIMIT;
        let (rest, stdout_closed) = drain(&self.stdout, deadline);
        let stdout = std::mem::take(&mut self.seen) + &rest;
        let (stderr, stderr_closed) = drain(&self.stderr, deadline);
        let line = std::mem::take(&mut self.line);
        let told = format!("{line}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        match ended {
            Ok(_) if !(stdout_closed && stderr_closed) => {
                panic!("ended, and what it left behind holds its output open: {told}")
            }
            Ok(status) => Run { line, status, stdout, stderr, took },
            Err(why) => panic!("not done within {limit:?} ({why}): {told}"),
        }
    }

    fn kill_group(&mut self) {
        if let Some(pid) = Pid::from_raw(self.pid()) {
            let _gone_meanwhile = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        let _already_waited_for = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill_group();
        }
    }
}

/// A run that ended. Its checks return it, so that they chain; each tells the whole output when
/// it fails.
#[derive(Debug)]
pub struct Run {
    line: String,
    status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

impl Run {
    fn told(&self) -> String {
        let Self { line, status, stdout, stderr, .. } = self;
        format!("{line}: {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }

    /// The exit status; minus the signal's number when one ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| -self.status.signal().unwrap_or_default())
    }

    /// Expects exit status 0.
    #[track_caller]
    pub fn success(self) -> Self {
        self.status(0)
    }

    /// Expects this exit status.
    #[track_caller]
    pub fn status(self, expected: i32) -> Self {
        assert_eq!(self.code(), expected, "exit status of {}", self.told());
        self
    }

    /// Expects `part` in standard error.
    #[track_caller]
    pub fn stderr_contains(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "no {part:?} in the errors of {}", self.told());
        self
    }

    /// Expects `part` in standard output.
    #[track_caller]
    pub fn stdout_contains(self, part: &str) -> Self {
        assert!(self.stdout.contains(part), "no {part:?} in the output of {}", self.told());
        self
    }

    /// Expects exactly `text` on standard output.
    #[track_caller]
    pub fn stdout_is(self, text: &str) -> Self {
        assert_eq!(self.stdout, text, "output of {}", self.told());
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn stdout_json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|why| panic!("{why}: {}", self.told()))
    }

    /// Standard output as one JSON object a line.
    #[track_caller]
    pub fn stdout_json_lines(&self) -> Vec<Value> {
        let parse = |line| {
            serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {}", self.told()))
        };
        self.stdout.lines().map(parse).collect()
    }
}

fn shell(script: &str) -> Invocation {
    let path = (OsString::from("PATH"), std::env::var_os("PATH").unwrap());
    Invocation::new("sh", &[path]).args(["-c", script])
}

#[test]
fn output_and_status_are_told() {
    let run = shell("cat; echo bad >&2; exit 3").stdin("[1]").run();
    let run = run.status(3).stdout_is("[1]").stderr_contains("bad");
    assert_eq!(run.stdout_json(), serde_json::json!([1]));
    shell("kill -9 $$").run().status(-9);
}

#[test]
#[should_panic(
    expected = "still running): sh -c echo before; exec tail -f /dev/null\n--- stdout\nbefore"
)]
fn a_run_that_hangs_is_ended_and_its_output_told() {
    shell("echo before; exec tail -f /dev/null").limit(Duration::from_millis(300)).run();
}

#[test]
#[should_panic(expected = "holds its output open")]
fn output_held_open_is_a_failure() {
    shell("sleep 4 & echo done").run();
}
