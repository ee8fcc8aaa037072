//! The host key of a rented machine. The one that it has from birth, so that the first connection is
//! strict, came through its user data, which the provider keeps and the machine can ask for again:
//! once the machine is a member it gets another, which never leaves it.

use std::time::Duration;

use crate::agent::api::DocumentChange;
use crate::agent::error::chain;
use crate::agent::perform::build::Site;
use crate::agent::perform::build::write;
use crate::agent::perform::job::Failure;
use crate::agent::perform::job::MachineJob;
use crate::agent::perform::login::Patience;
use crate::agent::perform::login::log_in;
use crate::agent::perform::make::Reached;
use crate::model::machine::Access;
use crate::ssh::host::Host;
use crate::ssh::host::Script;
use crate::ssh::target::SshTarget;

/// Makes a key beside the machine's own, and tells its public half.
const MAKE: &str = "set -eu
umask 077
cd /etc/ssh
rm -f .raptor_host_key .raptor_host_key.pub
ssh-keygen -q -t ed25519 -N '' -C raptor -f .raptor_host_key
cut -d ' ' -f 1,2 .raptor_host_key.pub
";

/// Puts that key in the place of the other, and has sshd, which goes on with its sessions, read it.
const TAKE: &str = "set -eu
cd /etc/ssh
chmod 0644 .raptor_host_key.pub
mv -f .raptor_host_key ssh_host_ed25519_key
mv -f .raptor_host_key.pub ssh_host_ed25519_key.pub
if [ -d /run/systemd/system ]; then
    systemctl try-reload-or-restart ssh.service sshd.service 2>/dev/null || true
elif [ -d /run/openrc ] && command -v rc-service >/dev/null; then
    rc-service -q sshd reload
else
    pid=$(cat /run/sshd.pid 2>/dev/null || cat /var/run/sshd.pid 2>/dev/null || true)
    if [ -n \"$pid\" ]; then kill -HUP \"$pid\"; else pkill -HUP -o -x sshd; fi
fi
";

/// How long a connection with the new key is tried: sshd starts anew after the signal.
const PATIENCE: Duration = Duration::from_secs(5);

const STEP: &str = "give it a host key of its own";

impl Site {
    /// Gives a rented machine a new host key. Until it is certain that the machine answers with it,
    /// the document names both, so that whoever is killed on the way locks nobody out.
    pub(super) async fn renew_host_key(
        &self,
        job: &MachineJob,
        host: &dyn Host,
        target: &SshTarget,
        reached: &mut Reached,
    ) -> Result<(), Failure> {
        let needs_sudo = !target.destination.is_root();
        let told = run(host, MAKE, needs_sudo).await?;
        let key = told.trim().to_owned();
        if !key.starts_with("ssh-ed25519 ") || key.contains('\n') {
            return Err(Failure::at(STEP, format!("{key:?} is no host key")));
        }
        let both = target.host_keys.iter().cloned().chain([key.clone()]).collect();
        self.note_host_keys(job, reached, both).await?;
        run(host, TAKE, needs_sudo).await?;
        let mut renewed = target.clone();
        renewed.host_keys = vec![key.clone()];
        log_in(renewed, Patience::with_new(PATIENCE)).await?;
        self.note_host_keys(job, reached, vec![key]).await
    }

    async fn note_host_keys(
        &self,
        job: &MachineJob,
        reached: &mut Reached,
        keys: Vec<String>,
    ) -> Result<(), Failure> {
        let (Some(Access::Ssh { host_keys, .. }), Some(door)) =
            (&mut reached.access, self.entrance.door())
        else {
            return Ok(());
        };
        let path = format!("machines.{}.access.host_keys", job.intent);
        let changes = vec![DocumentChange::Set { path, value: serde_json::json!(keys) }];
        let note = format!("host key of {}", job.record.name);
        write(door.as_ref(), &note, changes).await?;
        *host_keys = keys;
        Ok(())
    }
}

async fn run(host: &dyn Host, text: &str, sudo: bool) -> Result<String, Failure> {
    let mut script = Script::new(STEP, text);
    script.sudo = sudo;
    let output = host.script(script).await;
    let output = output.map_err(|error| Failure::at(STEP, chain(&error.cause)))?;
    if output.status == 0 {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::at(STEP, format!("status {}: {why}", output.status)))
}
