//! Calls of the Docker client: bounded in time and in what they may say, killed when dropped.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::Command;

use crate::compute::complaint::last_bytes;
use crate::compute::complaint::last_lines;
use crate::compute::error::Cause;

/// A `docker run` on a busy computer takes some seconds; beyond this the engine hangs.
const TIMEOUT: Duration = Duration::from_secs(120);
/// An answer about a thousand containers has about 8 MB.
const ANSWER_SIZE_MAX: usize = 64 * 1024 * 1024;
/// Most that is read of a client whose lines are followed.
const LINES_SIZE_MAX: u64 = 64 * 1024;

/// The client program.
#[derive(Debug)]
pub(super) struct Client {
    program: String,
}

/// One call.
pub(super) struct Call<'a> {
    arguments: &'a [&'a str],
    environment: Option<(&'a str, &'a str)>,
    input: &'a [u8],
    timeout: Duration,
}

impl<'a> Call<'a> {
    pub(super) fn new(arguments: &'a [&'a str]) -> Self {
        Self { arguments, environment: None, input: &[], timeout: TIMEOUT }
    }

    /// Sets a variable of the client's environment.
    pub(super) fn environment(self, key: &'a str, value: &'a str) -> Self {
        Self { environment: Some((key, value)), ..self }
    }

    /// What the client reads from its standard input.
    pub(super) fn input(self, input: &'a [u8]) -> Self {
        Self { input, ..self }
    }

    pub(super) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

/// What a client printed, and how it ended.
struct Answer {
    status: Option<i32>,
    printed: Vec<u8>,
    complaint: Vec<u8>,
}

impl Client {
    pub(super) fn new(program: &str) -> Self {
        Self { program: program.to_owned() }
    }

    /// The standard output of a call that succeeds.
    pub(super) async fn run(&self, call: Call<'_>) -> Result<Vec<u8>, Cause> {
        let command = self.command_text(&call);
        let Answer { status, printed, complaint } = self.call(call).await?;
        if status == Some(0) { Ok(printed) } else { Err(classify(command, status, &complaint)) }
    }

    /// The last lines of both outputs of a call that succeeds.
    pub(super) async fn run_merged(&self, call: Call<'_>) -> Result<String, Cause> {
        let command = self.command_text(&call);
        let Answer { status, mut printed, complaint } = self.call(call).await?;
        if status != Some(0) {
            return Err(classify(command, status, &complaint));
        }
        printed.extend(complaint);
        Ok(last_lines(&printed))
    }

    /// The lines that a call prints before it prints `last`; none when it ends without. It is ended
    /// then.
    pub(super) async fn lines_until(
        &self,
        call: Call<'_>,
        last: &str,
    ) -> Result<Option<String>, Cause> {
        let what = format!("`{}`", self.command_text(&call));
        let mut child = self.start(&call, Stdio::null())?;
        let lines = async {
            let mut source = BufReader::new(child.stdout.take()?.take(LINES_SIZE_MAX));
            let mut text = String::new();
            loop {
                let start = text.len();
                if source.read_line(&mut text).await.ok()? == 0 {
                    return None;
                }
                if text[start..].trim_end() == last {
                    text.truncate(start);
                    return Some(text);
                }
            }
        };
        let after = call.timeout;
        let lines = tokio::time::timeout(after, lines).await;
        lines.map_err(|_| Cause::TimedOut { what, after })
    }

    /// The JSON list that a call prints about those of its subjects that are there.
    pub(super) async fn json_of_those_there<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
    ) -> Result<Vec<T>, Cause> {
        let command = self.command_text(&call);
        let Answer { status, printed, complaint } = self.call(call).await?;
        let absent = || says(&complaint, &["no such container", "no such object", "no such image"]);
        if status != Some(0) && !absent() {
            return Err(classify(command, status, &complaint));
        }
        serde_json::from_slice(&printed).map_err(|source| Cause::Answer { command, source })
    }

    /// The engine's version.
    pub(super) async fn engine_version(&self) -> Result<String, Cause> {
        let version = self.told("version").await?;
        let text = version.pointer("/Server/Version").and_then(Value::as_str);
        Ok(text.unwrap_or("of an unknown version").to_owned())
    }

    /// What tells the engine from others; of one that has no id (podman), its host's name.
    pub(super) async fn engine_id(&self) -> Result<String, Cause> {
        let told = self.told("info").await?;
        let id = told.get("ID").or_else(|| told.pointer("/host/hostname")).and_then(Value::as_str);
        Ok(id.unwrap_or_default().to_owned())
    }

    /// All that one of the client's commands says.
    async fn told(&self, command: &str) -> Result<Value, Cause> {
        let arguments = [command, "--format", "{{json .}}"];
        let call = Call::new(&arguments);
        let command = self.command_text(&call);
        let answer = self.run(call).await?;
        serde_json::from_slice(&answer).map_err(|source| Cause::Answer { command, source })
    }

    fn command_text(&self, call: &Call<'_>) -> String {
        let words = call.arguments.iter().take(2).copied();
        [self.program.as_str()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
    }

    async fn call(&self, call: Call<'_>) -> Result<Answer, Cause> {
        let what = format!("`{}`", self.command_text(&call));
        let after = call.timeout;
        match tokio::time::timeout(after, self.finish(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(Cause::TimedOut { what, after }),
        }
    }

    fn failed(&self, source: io::Error) -> Cause {
        match source.kind() {
            io::ErrorKind::NotFound => Cause::ClientMissing { program: self.program.clone() },
            _ => Cause::io("run", &self.program, source),
        }
    }

    fn start(&self, call: &Call<'_>, errors: Stdio) -> Result<Child, Cause> {
        Command::new(&self.program)
            .args(call.arguments)
            .envs(call.environment)
            .stdin(if call.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(errors)
            // A group of its own: Ctrl-C at the terminal is answered by us, not by each client.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| self.failed(source))
    }

    async fn finish(&self, call: Call<'_>) -> Result<Answer, Cause> {
        let fail = |source| self.failed(source);
        let mut child = self.start(&call, Stdio::piped())?;
        let (input, output, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut input) = input {
                // A client that ended without reading says itself what is wrong.
                let _ = input.write_all(call.input).await;
            }
        };
        let read = async { tokio::try_join!(first_bytes(output), last_bytes(errors)) };
        let ((), read, status) = tokio::join!(feed, read, child.wait());
        let (printed, complaint) = read.map_err(fail)?;
        Ok(Answer { status: status.map_err(fail)?.code(), printed, complaint })
    }
}

/// Everything that `source` says, up to [`ANSWER_SIZE_MAX`].
async fn first_bytes(source: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(source) = source {
        source.take(ANSWER_SIZE_MAX as u64 + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() > ANSWER_SIZE_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"));
    }
    Ok(bytes)
}

/// What the client's words mean. They are those of Docker 20.10 to 28 and podman 4 and 5.
fn classify(command: String, status: Option<i32>, complaint: &[u8]) -> Cause {
    let said = last_lines(complaint);
    let says = |phrases: &[&str]| says(complaint, phrases);
    if says(&["no space left on device", "disk quota exceeded"]) {
        Cause::NoSpace { said }
    } else if says(&["permission denied while trying to connect", "connect: permission denied"]) {
        Cause::EngineDenied { said }
    } else if says(&[
        "cannot connect to the docker daemon",
        "is the docker daemon running",
        "error during connect",
        "unable to connect to podman",
    ]) {
        Cause::EngineUnreachable { said }
    } else if says(&["is already in use by container", "name is already in use"]) {
        Cause::NameTaken { holder: "the container's name".to_owned() }
    } else if says(&["no such image", "unable to find image", "image not known"]) {
        Cause::ImageUnavailable { image: "of the container".to_owned(), said }
    } else {
        Cause::Command { command, status, said }
    }
}

fn says(complaint: &[u8], phrases: &[&str]) -> bool {
    let text = String::from_utf8_lossy(complaint).to_ascii_lowercase();
    phrases.iter().any(|phrase| text.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause_of(complaint: &str) -> Cause {
        classify("docker run".to_owned(), Some(125), complaint.as_bytes())
    }

    #[test]
    fn the_engines_words_are_told_apart() {
        assert!(matches!(
            cause_of(
                "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. \
                 Is the docker daemon running?"
            ),
            Cause::EngineUnreachable { .. }
        ));
        assert!(matches!(
            cause_of("Got permission denied while trying to connect to the Docker daemon socket"),
            Cause::EngineDenied { .. }
        ));
        assert!(matches!(
            cause_of(
                "docker: Error response from daemon: Conflict. \
                 The container name \"/raptor-x\" is already in use by container \"1\"."
            ),
            Cause::NameTaken { .. }
        ));
        assert!(matches!(
            cause_of("docker: Error response from daemon: No such image: nope:latest."),
            Cause::ImageUnavailable { .. }
        ));
        assert!(matches!(
            cause_of("write /var/lib/docker/x: no space left on device"),
            Cause::NoSpace { .. }
        ));
        assert!(matches!(cause_of("unknown flag: --x"), Cause::Command { .. }));
    }

    #[tokio::test]
    async fn a_missing_client_a_hanging_client_and_a_flood_are_errors() {
        let missing = Client::new("no-such-docker-client");
        let error = missing.run(Call::new(&["version"])).await.unwrap_err();
        assert!(matches!(error, Cause::ClientMissing { .. }), "{error}");

        let shell = Client::new("/bin/sh");
        let hanging = Call::new(&["-c", "sleep 100"]).timeout(Duration::from_millis(50));
        let error = shell.run(hanging).await.unwrap_err();
        assert!(matches!(error, Cause::TimedOut { .. }), "{error}");

        let complaining = Call::new(&["-c", "yes complaint | head -c 1000000 >&2; exit 3"]);
        let error = shell.run(complaining).await.unwrap_err();
        assert!(matches!(error, Cause::Command { status: Some(3), .. }), "{error}");

        let reading =
            Call::new(&["-c", "cat; echo \"$KEY\""]).input(b"in\n").environment("KEY", "k");
        assert_eq!(shell.run(reading).await.unwrap(), b"in\nk\n");
    }
}
