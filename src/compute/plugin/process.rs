//! One call of a plug-in: one process, one line in, bounded lines out, and a deadline.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::compute::complaint::keep_end;
use crate::compute::complaint::last_lines;
use crate::compute::error::Cause;
use crate::compute::group::Group;
use crate::compute::plugin::error::PluginCause;
use crate::compute::plugin::settings::Secrets;
use crate::compute::plugin::wire::Conversation;
use crate::compute::plugin::wire::Refusal;
use crate::compute::plugin::wire::Verb;

/// All that a plug-in may say in one call: a list of ten thousand machines has some 5 MB.
const OUTPUT_SIZE_MAX: usize = 16 * 1024 * 1024;
/// How long output is waited for once the program has ended: a child of its own may hold it open.
const LINGER: Duration = Duration::from_millis(300);
/// Before the same is asked again, unless the plug-in says how long.
const RETRY_DEFAULT: Duration = Duration::from_secs(1);

/// What every plug-in gets of the environment.
const ENVIRONMENT: [&str; 16] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "XDG_RUNTIME_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];

/// One call.
pub(super) struct Call<'a> {
    pub(super) program: &'a Path,
    pub(super) verb: Verb,
    pub(super) line: Zeroizing<Vec<u8>>,
    pub(super) secrets: &'a Secrets,
    /// Variables that it gets besides [`ENVIRONMENT`].
    pub(super) environment: &'a [String],
    pub(super) timeout: Duration,
}

/// What a plug-in said, and how it ended.
#[derive(Default)]
struct Said {
    conversation: Conversation,
    log: Vec<u8>,
}

impl Call<'_> {
    fn text(&self) -> String {
        let name = self.program.file_name().unwrap_or(self.program.as_os_str());
        format!("{} {}", name.to_string_lossy(), self.verb.name())
    }

    /// Runs it to its end; at its deadline it is ended, with all that it started.
    pub(super) async fn run(self) -> Result<Value, Cause> {
        let fail = |source: io::Error| Cause::io("run", self.program, source);
        let mut group = Group::spawn(&mut self.command()).map_err(fail)?;
        let mut said = Said::default();
        let talked = tokio::time::timeout(self.timeout, self.talk(&mut group, &mut said)).await;
        let status = match talked {
            Ok(Ok(status)) => status,
            Ok(Err(why)) => {
                group.end().await;
                return Err(PluginCause::Babble { call: self.text(), why }.into());
            }
            Err(_) => {
                group.end().await;
                let what = format!("`{}`", self.text());
                return Err(Cause::TimedOut { what, after: self.timeout });
            }
        };
        match said.conversation.end() {
            Some(Ok(result)) if status.success() => Ok(result),
            Some(Err(refusal)) => Err(self.refused(refusal).into()),
            _ => {
                let said = self.secrets.redact(&last_lines(&said.log));
                let ending = status.to_string();
                Err(PluginCause::Silent { call: self.text(), ending, said }.into())
            }
        }
    }

    fn refused(&self, refusal: Refusal) -> PluginCause {
        let Refusal { code, message, retryable, retry_after_ms } = refusal;
        let wait = retry_after_ms.map_or(RETRY_DEFAULT, Duration::from_millis);
        PluginCause::Refused {
            call: self.text(),
            code,
            said: last_lines(self.secrets.redact(&message).as_bytes()),
            retry: retryable.then_some(wait),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        let named = self.environment.iter().map(String::as_str);
        let variables = ENVIRONMENT.into_iter().chain(named);
        let variables: Vec<(&str, OsString)> =
            variables.filter_map(|name| Some((name, env::var_os(name)?))).collect();
        command
            .arg(self.verb.name())
            .env_clear()
            .envs(variables)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Says the line, and hears all lines of the answer.
    async fn talk(&self, group: &mut Group, said: &mut Said) -> Result<ExitStatus, String> {
        let Said { conversation, log } = said;
        let (input, output, errors) = group.streams();
        let (ended, end) = watch::channel(false);
        let feed = async {
            if let Some(mut input) = input {
                // One that ended without reading says itself what is wrong.
                let _ = input.write_all(&self.line).await;
            }
            Ok::<(), String>(())
        };
        let hear = until_quiet(end.clone(), self.hear(output, conversation));
        let log = async { keep_end(errors, log).await.map_err(|error| error.to_string()) };
        let log = until_quiet(end, log);
        let wait = async {
            let status = group.wait().await.map_err(|error| error.to_string());
            ended.send_replace(true);
            status
        };
        let ((), (), (), status) = tokio::try_join!(feed, hear, log, wait)?;
        Ok(status)
    }

    async fn hear(
        &self,
        output: Option<impl AsyncRead + Unpin>,
        conversation: &mut Conversation,
    ) -> Result<(), String> {
        let Some(mut output) = output else { return Ok(()) };
        let (mut line, mut size) = (Vec::new(), 0);
        let mut chunk = vec![0u8; 16 * 1024];
        loop {
            let count = output.read(&mut chunk).await.map_err(|error| error.to_string())?;
            size += count;
            if size > OUTPUT_SIZE_MAX {
                return Err(format!("it says more than {OUTPUT_SIZE_MAX} bytes"));
            }
            let mut rest = &chunk[..count];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                line.extend_from_slice(&rest[..end]);
                self.told(conversation.line(&line)?);
                line.clear();
                rest = &rest[end + 1..];
            }
            line.extend_from_slice(rest);
            if count == 0 {
                self.told(conversation.line(&line)?);
                return Ok(());
            }
        }
    }

    fn told(&self, progress: Option<String>) {
        if let Some(progress) = progress {
            let progress = last_lines(self.secrets.redact(&progress).as_bytes());
            tracing::info!(plugin = self.text(), "{progress}");
        }
    }
}

/// Waits for `reading`, and not for long once the program has ended.
async fn until_quiet(
    mut end: watch::Receiver<bool>,
    reading: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    let quiet = async {
        // An error says that the program's end will never be told: then its output ends, too.
        if end.wait_for(|ended| *ended).await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        read = reading => read,
        () = quiet => Ok(()),
    }
}
