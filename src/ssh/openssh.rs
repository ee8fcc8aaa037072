//! A host through the system's `ssh`: the user's configuration, keys, agent and jump hosts hold.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use openssh::Session;
use openssh::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

use crate::ssh::carry::{Carried, Carrier, lost};
use crate::ssh::error::{Cause, HostError};
use crate::ssh::known_hosts::KnownHosts;
use crate::ssh::limits::{Sessions, handshake};
use crate::ssh::lookup::lookup;
use crate::ssh::master::Master;
use crate::ssh::pipe;
use crate::ssh::shell::{line_for_spare, spare};
use crate::ssh::target::SshTarget;
use crate::ssh::transport::{Channel, Input, Transport};

/// A connected host. Dropping it (and its bridges) closes the connection and ends what runs on it.
pub struct OpenSshHost {
    target: SshTarget,
    connection: Connection,
}

impl OpenSshHost {
    /// Connects. Waits for its turn when many connections are being made.
    ///
    /// # Errors
    /// [`HostError`] with the cause that ssh named.
    pub async fn connect(target: SshTarget) -> Result<Self, HostError> {
        match Connection::open(&target).await {
            Ok(connection) => Ok(Self { target, connection }),
            Err(cause) => Err(HostError::new(&target.name, "connecting", cause)),
        }
    }

    /// The host's keys as ssh knows them: by raptor's file of known hosts, or the user's own. Empty
    /// where an authority vouches for the host.
    pub async fn host_keys(&self) -> Vec<String> {
        lookup(&self.target).await
    }

    /// How this host was reached.
    #[must_use]
    pub fn target(&self) -> &SshTarget {
        &self.target
    }
}

impl Carried for OpenSshHost {
    fn carrier(&self) -> Carrier<'_> {
        Carrier {
            machine: &self.target.name,
            transport: &self.connection,
            sudo_password: self.target.sudo_password.as_ref(),
        }
    }

    fn connect_anew(&self) -> BoxFuture<'_, Result<(), HostError>> {
        Box::pin(async { Self::connect(self.target.clone()).await.map(drop) })
    }
}

/// A session that is being opened, or waits.
type Spare = JoinHandle<Result<Channel, Cause>>;

/// The master and the sessions on it. Dropping it gives up those that nobody used.
struct Connection {
    opener: Opener,
    spares: Mutex<Vec<Spare>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.spares().iter().for_each(JoinHandle::abort);
    }
}

impl Connection {
    async fn open(target: &SshTarget) -> Result<Self, Cause> {
        let known = KnownHosts::new(&target.known_hosts);
        let prepared = match target.host_keys.as_slice() {
            [] => known.prepare(),
            keys => known.set(&target.key_name(), keys),
        };
        prepared.map_err(|source| Cause::LocalFile { path: target.known_hosts.clone(), source })?;
        let _turn = handshake().await;
        let master = Master::start(target).await.map_err(|cause| match cause {
            // The line ssh found is the one just written: there is no old key to remove.
            Cause::HostKeyChanged { .. } | Cause::HostKeyUnknown
                if !target.host_keys.is_empty() =>
            {
                Cause::HostKeyNotRecorded
            }
            other => other,
        })?;
        let master = Arc::new(master);
        let socket: Box<Path> = master.socket().into();
        let session = Arc::new(Session::resume_mux(socket, None));
        let opener = Opener { session, sessions: Sessions::new(), master };
        Ok(Self { opener, spares: Mutex::default() })
    }

    /// Has a session that waits do `command_line`; none when there is none, or it is of no use.
    async fn use_spare(&self, command_line: &str) -> Option<Channel> {
        let line = line_for_spare(command_line)?;
        let spare = self.spares().pop()?;
        let mut channel = spare.await.ok()?.ok()?;
        channel.stdin.write_all(line.as_bytes()).await.ok()?;
        Some(channel)
    }

    fn spares(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens sessions. `session` only talks to the master's socket.
#[derive(Clone)]
struct Opener {
    session: Arc<Session>,
    sessions: Sessions,
    master: Arc<Master>,
}

impl Opener {
    async fn open(self, command_line: String) -> Result<Channel, Cause> {
        let turn = self.sessions.acquire().await;
        let (pipe, reader) = pipe::new().map_err(lost)?;
        let mut command = Arc::clone(&self.session).arc_raw_command(command_line);
        command.stdin(Stdio::from(reader)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn().await {
            Ok(child) => child,
            Err(error) => return Err(failure(&self.master, error).await),
        };
        let (Some(stdout), Some(stderr)) = (child.stdout().take(), child.stderr().take()) else {
            return Err(Cause::Other { detail: "the session has no streams".to_owned() });
        };
        // The master lives at least as long as any stream of its sessions.
        let master = self.master;
        let status = async move {
            let _turn = turn;
            match child.wait().await {
                Ok(status) => Ok(status.code().unwrap_or(255)),
                // How the crate says status 127.
                Err(openssh::Error::Remote(_)) => Ok(127),
                Err(error) => Err(failure(&master, error).await),
            }
        };
        Ok(Channel {
            stdin: Input::Pipe(pipe),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            status: Box::pin(status),
        })
    }
}

impl Transport for Connection {
    fn open(&self, command_line: String) -> BoxFuture<'_, Result<Channel, Cause>> {
        Box::pin(async move {
            if let Some(channel) = self.use_spare(&command_line).await {
                return Ok(channel);
            }
            self.opener.clone().open(command_line).await
        })
    }

    fn get_ready(&self, sessions: usize) {
        let opened = (0..sessions).map(|_| tokio::spawn(self.opener.clone().open(spare())));
        self.spares().extend(opened);
    }
}

async fn failure(master: &Master, error: openssh::Error) -> Cause {
    match error {
        openssh::Error::Disconnected => master.disconnected().await,
        _ if !master.stays_alive().await => master.disconnected().await,
        openssh::Error::RemoteProcessTerminated => {
            Cause::Other { detail: "the host ended the session's shell".to_owned() }
        }
        openssh::Error::ChildIo(error) => lost(error),
        other => {
            let reason = std::error::Error::source(&other).map(|source| format!(": {source}"));
            Cause::Other { detail: format!("{other}{}", reason.unwrap_or_default()) }
        }
    }
}
