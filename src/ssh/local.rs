//! This machine as a host: the same shell text, without a network.

use std::path::PathBuf;
use std::process::Stdio;

use futures_util::future::BoxFuture;
use tokio::process;

use crate::ssh::carry::{Carried, Carrier, lost};
use crate::ssh::error::Cause;
use crate::ssh::sudo::SudoPassword;
use crate::ssh::transport::{Channel, Input, Transport};

/// This machine.
#[derive(Debug, Clone)]
pub struct LocalHost {
    name: String,
    folder: PathBuf,
    environment: Vec<(String, String)>,
    sudo_password: Option<SudoPassword>,
}

impl LocalHost {
    /// This machine under the name the user knows; commands start in `folder`.
    #[must_use]
    pub fn new(name: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            folder: folder.into(),
            environment: Vec::new(),
            sudo_password: None,
        }
    }

    /// Sets a variable for everything that is run.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Gives sudo a password where it asks for one.
    #[must_use]
    pub fn with_sudo_password(mut self, password: SudoPassword) -> Self {
        self.sudo_password = Some(password);
        self
    }
}

impl Carried for LocalHost {
    fn carrier(&self) -> Carrier<'_> {
        Carrier { machine: &self.name, transport: self, sudo_password: self.sudo_password.as_ref() }
    }
}

impl Transport for LocalHost {
    fn open(&self, command_line: String) -> BoxFuture<'_, Result<Channel, Cause>> {
        Box::pin(async move {
            let mut child = process::Command::new("sh")
                .arg("-c")
                .arg(command_line)
                .current_dir(&self.folder)
                .envs(self.environment.iter().map(|(name, value)| (name, value)))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(|source| Cause::LocalFile { path: self.folder.clone(), source })?;
            let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
                return Err(Cause::Other { detail: "the shell has no streams".to_owned() });
            };
            let status = async move {
                use std::os::unix::process::ExitStatusExt;
                let status = child.wait().await.map_err(lost)?;
                Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
            };
            Ok(Channel {
                stdin: Input::Other(Box::new(stdin)),
                stdout: Box::new(stdout),
                stderr: Box::new(stderr),
                status: Box::pin(status),
            })
        })
    }
}
