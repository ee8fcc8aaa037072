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
use crate::ssh::error::Cause;
use crate::ssh::host::Host;
use crate::ssh::openssh::OpenSshHost;
use crate::ssh::target::SshTarget;

/// How long cloud-init, which may update packages, may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(900);

/// Between two attempts to log in to a machine that boots.
const LOGIN_INTERVAL: Duration = Duration::from_secs(1);

/// How long a machine that runs may be out of reach: its address may have been another's a moment ago,
/// and while the network still looks for that one nothing gets through.
const REACH_PATIENCE: Duration = Duration::from_secs(10);

/// Between two attempts to reach it.
const REACH_INTERVAL: Duration = Duration::from_millis(200);

/// How long a machine may turn a login away before that counts as a failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For whatever reason.
    boot: Duration,
    /// Because the network does not lead there.
    reach: Duration,
}

impl Patience {
    /// With a machine that was there: it says what is wrong at once.
    const NONE: Self = Self { boot: Duration::ZERO, reach: Duration::ZERO };

    /// With a machine that was just made.
    pub(super) fn with_new(boot: Duration) -> Self {
        Self { boot, reach: REACH_PATIENCE }
    }

    /// Whether the machine may still be booting.
    pub(super) fn waits_for_boot(self) -> bool {
        !self.boot.is_zero()
    }

    /// When to try again, if at all, after a failure `elapsed` after the first attempt.
    fn pause(self, cause: &Cause, elapsed: Duration) -> Option<Duration> {
        let is_out_of_reach = matches!(cause, Cause::Unreachable { .. } | Cause::Refused { .. });
        if is_out_of_reach && elapsed + REACH_INTERVAL < self.reach {
            return Some(REACH_INTERVAL);
        }
        (elapsed + LOGIN_INTERVAL < self.boot).then_some(LOGIN_INTERVAL)
    }
}

impl Site {
    /// How long a refusal to let us in means "not yet"; nothing for a machine that was there.
    pub(super) fn patience(&self, job: &MachineJob) -> Patience {
        match job.origin {
            Origin::Backend => {
                Patience::with_new(self.performer.boot_patience(&job.record.compute_type))
            }
            Origin::Host { .. } => Patience::NONE,
        }
    }
}

/// Logs in. A machine that was just made has an address before its sshd runs, and an sshd before it
/// has its own key and knows ours.
pub(super) async fn log_in(target: SshTarget, patience: Patience) -> Result<OpenSshHost, Failure> {
    let start = Instant::now();
    loop {
        let error = match OpenSshHost::connect(target.clone()).await {
            Ok(host) => return Ok(host),
            Err(error) => error,
        };
        let Some(pause) = patience.pause(&error.cause, start.elapsed()) else {
            return Err(Failure::at("log in", chain(&error.cause)).with_hint(error.hint()));
        };
        tracing::debug!(machine = target.name, cause = chain(&error.cause), "not yet");
        tokio::time::sleep(pause).await;
    }
}

/// Waits until what began with the machine's first boot is done.
pub(super) async fn settled(host: &dyn Host, needs_sudo: bool) -> Result<(), Failure> {
    settle(host, needs_sudo, SETTLE_TIMEOUT).await.map_err(|error| {
        Failure::at("wait for cloud-init", chain(&error.cause)).with_hint(error.hint())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_be_reached_yet_is_tried_again_and_who_refuses_only_while_it_boots() {
        let detail = || "ssh said so".to_owned();
        let unreachable = Cause::Unreachable { detail: detail() };
        let refused = Cause::LoginRefused { methods: "publickey".to_owned() };
        let second = Duration::from_secs(1);
        let runs = Patience::with_new(Duration::ZERO);
        assert_eq!(runs.pause(&unreachable, second), Some(REACH_INTERVAL));
        assert_eq!(runs.pause(&unreachable, REACH_PATIENCE), None);
        assert_eq!(runs.pause(&refused, Duration::ZERO), None);
        let boots = Patience::with_new(second * 60);
        assert_eq!(boots.pause(&refused, second * 58), Some(LOGIN_INTERVAL));
        assert_eq!(boots.pause(&refused, second * 59), None);
        assert_eq!(boots.pause(&unreachable, second * 30), Some(LOGIN_INTERVAL));
        assert_eq!(Patience::NONE.pause(&unreachable, Duration::ZERO), None);
    }
}
