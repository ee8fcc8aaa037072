//! The `ssh` process that holds one connection and serves its sessions.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::ssh::classify::{Attempt, classify, detail_of};
use crate::ssh::control::new_socket_path;
use crate::ssh::error::Cause;
use crate::ssh::parent_death::spawn_tied;
use crate::ssh::target::SshTarget;

/// How often the socket is looked for while the connection is made.
const POLL: Duration = Duration::from_millis(4);

/// What authentication may take beyond ssh's own limit for connecting.
const AUTHENTICATION: Duration = Duration::from_secs(30);

/// How long the last words of a process that has ended may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Most of its words that are kept.
const WORDS_MAX: usize = 16 * 1024;

/// A running master. Dropping it ends the process, and with it every session.
pub(crate) struct Master {
    child: Mutex<Child>,
    socket: PathBuf,
    words: Arc<Mutex<Vec<u8>>>,
    listener: Mutex<Option<JoinHandle<()>>>,
}

impl Master {
    /// Connects and waits until sessions can be opened.
    pub(crate) async fn start(target: &SshTarget) -> Result<Self, Cause> {
        let limit = target.connect_timeout + AUTHENTICATION;
        let started = Self::launch(target).await?;
        let attempt = Attempt {
            jump: target.via.last().map(ToString::to_string),
            connect_timeout: target.connect_timeout,
        };
        match timeout(limit, started.wait_for_socket()).await {
            Ok(true) => Ok(started),
            Ok(false) => Err(classify(&started.last_words().await, &attempt)),
            Err(_) => Err(Cause::ConnectTimeout { after: limit }),
        }
    }

    async fn launch(target: &SshTarget) -> Result<Self, Cause> {
        let socket = new_socket_path()?;
        let mut command = Command::new("ssh");
        command
            .args(target.master_arguments(&socket))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let client = |error: std::io::Error| Cause::Client { detail: error.to_string() };
        let mut child = spawn_tied(command).await.map_err(client)?;
        let words = Arc::new(Mutex::new(Vec::new()));
        let listener = child.stderr.take().map(|stderr| {
            let pipe = Receiver::from_owned_fd(OwnedFd::from(stderr));
            tokio::spawn(listen(pipe, Arc::clone(&words)))
        });
        let (child, listener) = (Mutex::new(child), Mutex::new(listener));
        Ok(Self { child, socket, words, listener })
    }

    /// Where sessions are asked for.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether the process runs.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(locked(&self.child).try_wait(), Ok(None))
    }

    /// Whether the process runs and goes on: when a connection breaks, its sessions end a moment
    /// before the process does.
    pub(crate) async fn stays_alive(&self) -> bool {
        let ended = async {
            while self.is_alive() {
                sleep(POLL).await;
            }
        };
        timeout(LAST_WORDS, ended).await.is_err()
    }

    /// Why the connection is gone.
    pub(crate) async fn disconnected(&self) -> Cause {
        Cause::Disconnected { detail: detail_of(&self.last_words().await) }
    }

    /// True once the socket is there; false when the process ended before.
    async fn wait_for_socket(&self) -> bool {
        loop {
            if fs::symlink_metadata(&self.socket).is_ok() {
                return true;
            }
            if !self.is_alive() {
                return false;
            }
            sleep(POLL).await;
        }
    }

    async fn last_words(&self) -> String {
        let listener = locked(&self.listener).take();
        if let (Some(listener), false) = (listener, self.is_alive()) {
            let _too_late = timeout(LAST_WORDS, listener).await;
        }
        String::from_utf8_lossy(&locked(&self.words)).into_owned()
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let mut child = locked(&self.child);
        let _ended_before = child.kill();
        // After SIGKILL the wait is for the kernel alone.
        let _reaped = child.wait();
        let _never_made = fs::remove_file(&self.socket);
    }
}

async fn listen(pipe: std::io::Result<Receiver>, words: Arc<Mutex<Vec<u8>>>) {
    let Ok(mut pipe) = pipe else { return };
    let mut buffer = [0u8; 1024];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        let mut words = locked(&words);
        words.extend_from_slice(&buffer[..length]);
        let surplus = words.len().saturating_sub(WORDS_MAX);
        words.drain(..surplus);
    }
}

fn locked<Inner>(mutex: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
