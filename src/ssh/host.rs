//! What can be asked of a host.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use crate::ssh::error::HostError;

/// How long a command may take when nobody says.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// A host that commands can be run on. Every call names machine and step when it fails.
///
/// A call that is dropped or times out ends what it started on the host, too.
pub trait Host: Send + Sync {
    /// What the user calls the machine.
    fn name(&self) -> &str;

    /// Says that so many calls will follow soon: a host at some distance opens their sessions while
    /// other work goes on.
    fn get_ready(&self, _sessions: usize) {}

    /// Runs one program. A status other than 0 is no error: it is in the output.
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, HostError>>;

    /// Runs a shell script, sent whole through standard input, in one session. It begins only
    /// when all of it has arrived.
    fn script(&self, script: Script) -> BoxFuture<'_, Result<Output, HostError>>;

    /// Makes a second connection from nothing, as the first was made, and closes it: whether the
    /// host would let us in again.
    fn reconnect(&self) -> BoxFuture<'_, Result<(), HostError>> {
        Box::pin(async { Ok(()) })
    }

    /// Puts a file on the host: written beside its destination, checked, then moved over it.
    fn upload(&self, upload: Upload) -> BoxFuture<'_, Result<Uploaded, HostError>>;

    /// Runs one program for as long as the stream lives and joins its standard input and output.
    fn bridge(
        &self,
        argv: Vec<String>,
        sudo: bool,
    ) -> BoxFuture<'_, Result<BoxedStream, HostError>>;
}

/// A stream to a program on the host.
pub type BoxedStream = Box<dyn Stream>;

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<Any: AsyncRead + AsyncWrite + Send + Unpin> Stream for Any {}

/// One program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments; quoted on the way.
    pub argv: Vec<String>,
    /// What it reads; no NUL bytes.
    pub stdin: Vec<u8>,
    /// Whether it must run as root.
    pub sudo: bool,
    /// How long it may take.
    pub timeout: Duration,
}

impl Command {
    /// A program that reads nothing, as the login user.
    #[must_use]
    pub fn new<Word: Into<String>>(argv: impl IntoIterator<Item = Word>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            stdin: Vec::new(),
            sudo: false,
            timeout: TIMEOUT_DEFAULT,
        }
    }
}

/// Called with every line of a script's standard output, as it comes.
pub type LineObserver = Arc<dyn Fn(&str) + Send + Sync>;

/// A shell script to run.
#[derive(Clone)]
pub struct Script {
    /// What it does, for messages: `probing`.
    pub name: String,
    /// Its text, for the POSIX shell; no NUL bytes.
    pub text: String,
    /// Whether it must run as root.
    pub sudo: bool,
    /// How long it may take.
    pub timeout: Duration,
    /// Who watches its output.
    pub observer: Option<LineObserver>,
}

impl Script {
    /// A script as the login user.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            sudo: false,
            timeout: TIMEOUT_DEFAULT,
            observer: None,
        }
    }
}

/// What a command left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Exit status; 128 + N when signal N ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file of this machine.
    File(PathBuf),
    /// Bytes in memory.
    Bytes(Arc<[u8]>),
}

/// Called with the number of bytes sent so far.
pub type ProgressObserver = Arc<dyn Fn(u64) + Send + Sync>;

/// A file to put on a host.
#[derive(Clone)]
pub struct Upload {
    /// Its bytes.
    pub source: Source,
    /// Its absolute path on the host.
    pub destination: String,
    /// Its mode, such as `0o755`.
    pub mode: u32,
    /// SHA-256 of the bytes in hexadecimal, when the caller knows it; computed otherwise.
    pub sha256: Option<String>,
    /// Whether only root may write there.
    pub sudo: bool,
    /// Who watches the bytes go.
    pub observer: Option<ProgressObserver>,
    /// When there is one, nothing is changed on the host before it is notified; dropping the call
    /// before leaves everything as it was.
    pub permission: Option<Arc<Notify>>,
}

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uploaded {
    /// The same bytes were there already; none were sent.
    pub skipped: bool,
}
