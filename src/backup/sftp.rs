//! Backups on a host that lets us in by SFTP: OpenSSH's own `sftp`, so that keys, agent and
//! `ssh_config` of the user hold.

use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use reqwest::Url;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::backup::error::StoreError;
use crate::backup::keep::ARCHIVE_SIZE_MAX;
use crate::backup::store::Access;
use crate::backup::store::Store;
use crate::backup::store::Work;
use crate::config::files;

/// How long one transfer may take.
const TIMEOUT: Duration = Duration::from_secs(600);

const CONNECT_TIMEOUT_S: u32 = 15;

/// Longest line of `sftp` that is repeated.
const SAID_MAX: usize = 300;

pub(super) struct Sftp {
    place: String,
    host: String,
    options: Vec<String>,
    identity_file: Option<PathBuf>,
    /// Absolute, or relative to where the login begins (`~`).
    folder: String,
}

impl Sftp {
    /// `sftp://USER@HOST:PORT/FOLDER`; `/~/FOLDER` begins where the login does.
    pub(super) fn open(url: &Url, access: Access) -> Result<Self, StoreError> {
        let refuse = |why: &str| StoreError::new(url.as_str(), "use this address", why);
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let is_word = |text: &str| {
            !text.starts_with('-')
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte))
        };
        if host.is_empty() || !is_word(&host) || !is_word(url.username()) {
            return Err(refuse("expected sftp://USER@HOST:PORT/FOLDER"));
        }
        let path = url.path();
        let folder = path.strip_prefix("/~/").unwrap_or(path).trim_end_matches('/').to_owned();
        // They are words of sftp's own language, in which these need no quotes.
        if !folder.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte)) {
            return Err(refuse("the folder may hold letters, digits and / . _ - alone"));
        }
        let known_hosts = access.known_hosts.display();
        let mut options = vec![
            "BatchMode=yes".to_owned(),
            "ForwardAgent=no".to_owned(),
            "StrictHostKeyChecking=accept-new".to_owned(),
            format!("ConnectTimeout={CONNECT_TIMEOUT_S}"),
            format!("UserKnownHostsFile=\"{known_hosts}\" ~/.ssh/known_hosts"),
        ];
        options.extend(url.port().map(|port| format!("Port={port}")));
        if !url.username().is_empty() {
            options.push(format!("User={}", url.username()));
        }
        let identity_file = access.identity_file;
        Ok(Self { place: url.to_string(), host, options, identity_file, folder })
    }

    fn fail(&self, step: &str, why: impl Into<String>) -> StoreError {
        StoreError::new(&self.place, step, why)
    }

    fn path(&self, name: &str) -> String {
        if self.folder.is_empty() { name.to_owned() } else { format!("{}/{name}", self.folder) }
    }

    /// Runs a batch of commands; those that begin with `-` may fail. What it said of the failure.
    async fn batch(&self, step: &str, commands: &str) -> Result<(), StoreError> {
        let failed = |error: std::io::Error| self.fail(step, format!("sftp: {error}"));
        let mut command = Command::new("sftp");
        command.args(["-b", "-"]);
        for option in &self.options {
            command.args(["-o", option]);
        }
        if let Some(file) = &self.identity_file {
            command.arg("-i").arg(file);
        }
        command.arg(&self.host).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends before it has read its commands says why.
            let _ = stdin.write_all(commands.as_bytes()).await;
        }
        let ended = tokio::time::timeout(TIMEOUT, child.wait_with_output()).await;
        let output = ended.map_err(|_| self.fail(step, "no end within 10 min"))?.map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>();
        let said: String = said.join("; ").chars().take(SAID_MAX).collect();
        Err(self.fail(step, said))
    }

    /// A folder for one transfer, for us alone.
    fn scratch(&self, step: &str) -> Result<Scratch, StoreError> {
        let name = format!("raptor-sftp-{}-{}", std::process::id(), fresh());
        let path = std::env::temp_dir().join(name);
        files::create_folder(&path).map_err(|error| self.fail(step, error.to_string()))?;
        Ok(Scratch(path))
    }
}

fn fresh() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn file(&self) -> PathBuf {
        self.0.join("f")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A path in sftp's language.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}

impl Store for Sftp {
    fn get<'a>(&'a self, name: &'a str) -> Work<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let step = format!("read {name}");
            let scratch = self.scratch(&step)?;
            let file = scratch.file();
            let batch = format!("get {} {}\n", self.path(name), quoted(&file));
            match self.batch(&step, &batch).await {
                Err(error) if error.why.contains("not found") || error.why.contains("No such") => {
                    Ok(None)
                }
                Err(error) => Err(error),
                Ok(()) => {
                    let read = files::read_bounded(&file, ARCHIVE_SIZE_MAX);
                    read.map(Some).map_err(|error| self.fail(&step, error.to_string()))
                }
            }
        })
    }

    fn put<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> Work<'a, ()> {
        Box::pin(async move {
            let step = format!("write {name}");
            let scratch = self.scratch(&step)?;
            let file = scratch.file();
            let written = files::write_atomic(&file, bytes);
            written.map_err(|error| self.fail(&step, error.to_string()))?;
            let path = self.path(name);
            let mut batch = String::new();
            let mut above = String::new();
            for part in self.folder.split_inclusive('/').filter(|_| !self.folder.is_empty()) {
                above.push_str(part);
                let made = above.trim_end_matches('/');
                if !made.is_empty() {
                    batch.extend(["-mkdir ", made, "\n"]);
                }
            }
            // Beside, then renamed: what is read is whole. A plain rename does not replace.
            let file = quoted(&file);
            let put = ["put ", &file, " ", &path, ".new\n-rm ", &path, "\n"];
            batch.extend(put.into_iter().chain(["rename ", &path, ".new ", &path, "\n"]));
            self.batch(&step, &batch).await
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> Work<'a, ()> {
        Box::pin(async move {
            let step = format!("remove {name}");
            self.batch(&step, &format!("-rm {}\n", self.path(name))).await
        })
    }
}
