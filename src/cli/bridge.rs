//! A unix socket on this machine that leads to an agent on another, through SSH.
//!
//! The API's client speaks to sockets only; a temporary one, in a folder that nobody else can
//! enter, hands each of its connections to a session of `raptor agent connect` over there.

use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use data_encoding::HEXLOWER;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::agent::perform::settings::spawned_key_file;
use crate::cli::configuration;
use crate::cli::endpoint::SshWay;
use crate::cli::invocation::Invocation;
use crate::config::home::Home;
use crate::http::socket_path::SocketPath;
use crate::model::destination::Destination;
use crate::model::machine::IntentId;
use crate::ssh::error::Cause;
use crate::ssh::host::Host;
use crate::ssh::openssh::OpenSshHost;
use crate::ssh::target::SshTarget;

/// Sessions at once on one SSH connection: `sshd` refuses an 11th (`MaxSessions`).
const SESSIONS_MAX: usize = 8;

/// What helps where sudo asks for a password on the way to an agent.
const SUDO_HELP: &str = "give --ask-sudo-pass";

/// The home of an agent that runs as root on a machine of its own.
pub const REMOTE_HOME: &str = "/var/lib/raptor";

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<Any: AsyncRead + AsyncWrite + Send + Unpin> Stream for Any {}

/// Opens sessions to a far agent's socket.
pub trait Bridge: Send + Sync {
    /// One more session; the error is a sentence that names the machine and the cause.
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, String>>;
}

/// Logs in, where `raptor agent connect` will be run for every session.
async fn log_in(invocation: &Invocation, way: &SshWay) -> Result<Box<dyn Bridge>, String> {
    let (host, sudo) = host(invocation, way).await?;
    Ok(Box::new(HostBridge { host, sudo }))
}

/// Logs in to a machine; whether root's work there needs sudo.
///
/// # Errors
/// A sentence for people.
pub async fn host(invocation: &Invocation, way: &SshWay) -> Result<(Arc<dyn Host>, bool), String> {
    let mut target = SshTarget::new(way.destination.clone(), invocation.known_hosts());
    target.via = way.via.iter().cloned().collect();
    target.identity_file.clone_from(&way.identity_file);
    log_in_to(invocation, target).await
}

async fn log_in_to(
    invocation: &Invocation,
    mut target: SshTarget,
) -> Result<(Arc<dyn Host>, bool), String> {
    let config = configuration::loaded(invocation, None).map_err(|error| error.render(false))?;
    let ssh = config.config.ssh;
    target.connect_timeout = ssh.connect_timeout();
    if target.identity_file.is_none() {
        target.identity_file = ssh.identity_file;
    }
    target.config_file = ssh.config_file;
    target.options =
        ssh.options.iter().map(|(option, value)| format!("{option}={value}")).collect();
    target.sudo_password.clone_from(&invocation.sudo_password);
    let sudo = !target.destination.is_root();
    let host = OpenSshHost::connect(target).await;
    let host = host.map_err(|error| crate::agent::error::chain(&error.cause))?;
    Ok((Arc::new(host), sudo))
}

/// A bridge over a host that was logged in to.
pub struct HostBridge {
    /// The host.
    pub host: Arc<dyn Host>,
    /// Whether the agent is root's and the login is not.
    pub sudo: bool,
}

impl Bridge for HostBridge {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, String>> {
        Box::pin(async {
            let argv = ["raptor", "--home", REMOTE_HOME, "agent", "connect"];
            let argv = argv.map(str::to_owned).to_vec();
            let stream = self.host.bridge(argv, self.sudo).await;
            // Whoever is told knows the machine already.
            let stream = stream.map_err(|error| {
                let told = crate::agent::error::chain(&error.cause);
                match error.cause {
                    Cause::SudoNeedsPassword { .. } => format!("{told}; {SUDO_HELP}"),
                    _ => format!("{}: {told}", error.step),
                }
            })?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// The temporary socket, open as long as this value lives.
pub struct BridgeListener {
    folder: PathBuf,
    socket: PathBuf,
    failure: Arc<Mutex<Option<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl fmt::Debug for BridgeListener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BridgeListener")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl BridgeListener {
    /// Logs in and opens the socket.
    ///
    /// # Errors
    /// A sentence for people: the login failed, or no temporary folder can be made.
    pub async fn open(invocation: &Invocation, way: &SshWay) -> Result<Self, String> {
        let bridge = log_in(invocation, way).await?;
        Self::opened(bridge)
    }

    /// As [`BridgeListener::open`], for a machine that a back-end made for the wish `intent`.
    ///
    /// # Errors
    /// As [`BridgeListener::open`].
    pub async fn open_spawned(
        invocation: &Invocation,
        intent: IntentId,
        destination: &Destination,
    ) -> Result<Self, String> {
        let mut target = SshTarget::new(destination.clone(), invocation.known_hosts());
        target.host_key_alias = Some(intent.to_string());
        target.identity_file = Some(spawned_key_file(&Home::new(&invocation.home)));
        let (host, sudo) = log_in_to(invocation, target).await?;
        Self::opened(Box::new(HostBridge { host, sudo }))
    }

    fn opened(bridge: Box<dyn Bridge>) -> Result<Self, String> {
        Self::listen(&runtime_folder(), bridge)
            .map_err(|error| format!("cannot open a temporary socket: {error}"))
    }

    /// Opens the socket before a host that was logged in to.
    ///
    /// # Errors
    /// No temporary folder can be made.
    pub fn over(bridge: HostBridge) -> io::Result<Self> {
        Self::listen(&runtime_folder(), Box::new(bridge))
    }

    fn listen(parent: &Path, bridge: Box<dyn Bridge>) -> io::Result<Self> {
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let folder = parent.join(format!("raptor-{}", HEXLOWER.encode(&random)));
        // Fails when the name is taken, so nobody can have prepared the folder.
        DirBuilder::new().mode(0o700).create(&folder)?;
        let socket = folder.join("agent.sock");
        let bound = SocketPath::new(&socket).and_then(|path| UnixListener::bind(path.as_path()));
        let listener = bound.inspect_err(|_| remove(&folder))?;
        let failure = Arc::new(Mutex::new(None));
        let task = tokio::spawn(serve(listener, Arc::from(bridge), failure.clone()));
        Ok(Self { folder, socket, failure, task })
    }

    /// The socket's path.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Why the last session could not be opened; the socket's own error hides it.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for BridgeListener {
    fn drop(&mut self) {
        self.task.abort();
        remove(&self.folder);
    }
}

/// Nobody can act on a temporary folder that stays.
fn remove(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}

/// A folder of the user's own where there is one; it ends with the login.
fn runtime_folder() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
        .unwrap_or_else(std::env::temp_dir)
}

async fn serve(
    listener: UnixListener,
    bridge: Arc<dyn Bridge>,
    failure: Arc<Mutex<Option<String>>>,
) {
    let sessions = Arc::new(Semaphore::new(SESSIONS_MAX));
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(permit) = sessions.clone().acquire_owned().await else {
            return;
        };
        let (bridge, failure) = (bridge.clone(), failure.clone());
        tokio::spawn(async move {
            if let Err(why) = join(stream, bridge.as_ref()).await {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            }
            drop(permit);
        });
    }
}

async fn join(mut near: UnixStream, bridge: &dyn Bridge) -> Result<(), String> {
    let mut far = bridge.open().await?;
    // Either end may go first; the far one says so when it never was a way to an agent.
    match tokio::io::copy_bidirectional(&mut near, &mut far).await {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(format!("{error}; {SUDO_HELP}"))
        }
        // What remains is told by the request that was under way.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::http::client::ApiClient;

    struct Echo;

    impl Bridge for Echo {
        fn open(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, String>> {
            let (near, far) = tokio::io::duplex(64);
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(far);
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                writer.shutdown().await.unwrap();
            });
            Box::pin(async { Ok(Box::new(near) as Box<dyn Stream>) })
        }
    }

    struct Dead;

    impl Bridge for Dead {
        fn open(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, String>> {
            Box::pin(async { Err("box: raptor is not there".to_owned()) })
        }
    }

    #[tokio::test]
    async fn every_connection_gets_a_session_and_the_folder_goes_with_the_listener() {
        let parent = tempfile::tempdir().unwrap();
        let listener = BridgeListener::listen(parent.path(), Box::new(Echo)).unwrap();
        let folder = listener.socket().parent().unwrap().to_owned();
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        for _ in 0..20 {
            let mut stream = UnixStream::connect(listener.socket()).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "hello");
        }
        drop(listener);
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn why_a_session_failed_is_kept() {
        let parent = tempfile::tempdir().unwrap();
        let listener = BridgeListener::listen(parent.path(), Box::new(Dead)).unwrap();
        let mut stream = UnixStream::connect(listener.socket()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(listener.failure().as_deref(), Some("box: raptor is not there"));
    }

    /// Answers HTTP requests with an empty list, the first ones once all sessions are taken.
    struct Busy(Arc<tokio::sync::Barrier>);

    impl Bridge for Busy {
        fn open(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, String>> {
            let (near, mut far) = tokio::io::duplex(4096);
            let taken = Arc::clone(&self.0);
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                while far.read(&mut request).await.is_ok_and(|length| length > 0) {
                    // Later than this, nobody who waits is left to be counted.
                    let _ = tokio::time::timeout(Duration::from_millis(100), taken.wait()).await;
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]";
                    if far.write_all(answer).await.is_err() {
                        break;
                    }
                }
            });
            Box::pin(async { Ok(Box::new(near) as Box<dyn Stream>) })
        }
    }

    #[tokio::test]
    async fn requests_beyond_the_sessions_wait_for_one_and_get_it() {
        let parent = tempfile::tempdir().unwrap();
        let taken = Arc::new(tokio::sync::Barrier::new(SESSIONS_MAX));
        let listener = BridgeListener::listen(parent.path(), Box::new(Busy(taken))).unwrap();
        let client = ApiClient::new(listener.socket()).unwrap();
        let requests = (0..2 * SESSIONS_MAX).map(|_| client.members());
        for answer in futures_util::future::join_all(requests).await {
            assert_eq!(answer.unwrap(), []);
        }
    }
}
