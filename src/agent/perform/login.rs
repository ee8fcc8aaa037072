//! The first login to a machine: one that was just made may not let us in yet, and is not ready
//! when it does.

use std::time::Duration;
use std::time::Instant;

use crate::agent::error::chain;
use crate::agent::perform::build::Site;
use crate::agent::perform::job::Failure;
use crate::agent::perform::job::MachineJob;
use crate::agent::perform::job::Origin;
use crate::provision::settle::settle;
use crate::ssh::host::Host;
use crate::ssh::openssh::OpenSshHost;
use crate::ssh::target::SshTarget;

/// How long cloud-init, which may update packages, may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(900);

/// Between two attempts to log in to a machine that boots.
const LOGIN_INTERVAL: Duration = Duration::from_secs(1);

impl Site {
    /// How long a refusal to let us in means "not yet"; nothing for a machine that was there.
    pub(super) fn patience(&self, job: &MachineJob) -> Duration {
        match job.origin {
            Origin::Backend => self.performer.boot_patience(&job.record.compute_type),
            Origin::Host { .. } => Duration::ZERO,
        }
    }
}

/// Logs in. A machine that was just made has an address before its sshd runs, and an sshd before it
/// has its own key and knows ours.
pub(super) async fn log_in(target: SshTarget, patience: Duration) -> Result<OpenSshHost, Failure> {
    let start = Instant::now();
    loop {
        match OpenSshHost::connect(target.clone()).await {
            Ok(host) => return Ok(host),
            Err(error) if start.elapsed() + LOGIN_INTERVAL < patience => {
                tracing::debug!(machine = target.name, cause = chain(&error.cause), "not yet");
                tokio::time::sleep(LOGIN_INTERVAL).await;
            }
            Err(error) => {
                return Err(Failure::at("log in", chain(&error.cause)).with_hint(error.hint()));
            }
        }
    }
}

/// Waits until what began with the machine's first boot is done.
pub(super) async fn settled(host: &dyn Host, needs_sudo: bool) -> Result<(), Failure> {
    settle(host, needs_sudo, SETTLE_TIMEOUT).await.map_err(|error| {
        Failure::at("wait for cloud-init", chain(&error.cause)).with_hint(error.hint())
    })
}
