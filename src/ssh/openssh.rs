//! A host through the system's `ssh`: the user's configuration, keys, agent and jump hosts hold.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use openssh::Session;
use openssh::Stdio;

use crate::ssh::carry::{Carried, Carrier, lost};
use crate::ssh::error::{Cause, HostError};
use crate::ssh::known_hosts::KnownHosts;
use crate::ssh::limits::{Sessions, handshake};
use crate::ssh::lookup::lookup;
use crate::ssh::master::Master;
use crate::ssh::target::SshTarget;
use crate::ssh::transport::{Channel, Transport};

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

/// The master and the sessions on it. `session` only talks to the master's socket.
struct Connection {
    session: Arc<Session>,
    sessions: Sessions,
    master: Arc<Master>,
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
        Ok(Self { session, sessions: Sessions::new(), master })
    }
}

impl Transport for Connection {
    fn open(&self, command_line: String) -> BoxFuture<'_, Result<Channel, Cause>> {
        Box::pin(async move {
            let turn = self.sessions.acquire().await;
            let mut command = Arc::clone(&self.session).arc_raw_command(command_line);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = match command.spawn().await {
                Ok(child) => child,
                Err(error) => return Err(failure(&self.master, error).await),
            };
            let streams = (child.stdin().take(), child.stdout().take(), child.stderr().take());
            let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
                return Err(Cause::Other { detail: "the session has no streams".to_owned() });
            };
            // The master lives at least as long as any stream of its sessions.
            let master = Arc::clone(&self.master);
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
                stdin: Box::new(stdin),
                stdout: Box::new(stdout),
                stderr: Box::new(stderr),
                status: Box::pin(status),
            })
        })
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
