//! A look at a machine itself, past the mesh: on this computer, or through SSH. An agent that answers
//! is told where the members are.

use std::time::Duration;

use serde_json::json;

use crate::agent::api::Bootstrap;
use crate::agent::api::BootstrapPeer;
use crate::agent::error::chain;
use crate::agent::perform::door::Way;
use crate::agent::reconcile::hands::Hands;
use crate::agent::reconcile::hands::told;
use crate::config::home::Home;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::member::Status;
use crate::model::name::Name;
use crate::provision::layout::Layout;
use crate::ssh::host::Host;
use crate::ssh::openssh::OpenSshHost;
use crate::ssh::target::SshTarget;

/// How long a visit may take: a login over a slow line, and two answers.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Members that are named to the machine.
const PEERS_MAX: usize = 100;

impl Hands {
    /// Goes to the machine of a wish; fails when no agent of this cluster answers there.
    pub(super) async fn visit(
        &self,
        intent: IntentId,
        record: MachineRecord,
    ) -> Result<(), String> {
        let visited = tokio::time::timeout(TIMEOUT, self.call_on(intent, record)).await;
        visited.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())))
    }

    async fn call_on(&self, intent: IntentId, record: MachineRecord) -> Result<(), String> {
        let compute = self.performer().compute(&record.compute_type).map_err(told)?;
        let found = compute.find(intent).await.map_err(|error| chain(&error))?;
        let found = found.filter(|machine| machine.cluster == self.genesis.cluster_id());
        let machine = found.ok_or("its back-end does not have it")?;
        let bootstrap = self.bootstrap(record.name.clone()).await?;
        match machine.access {
            Some(Access::Local { home }) => self.introduce_local(Home::new(home), bootstrap).await,
            Some(Access::Ssh { destination, identity_file, host_keys, .. }) => {
                let title = record.name.to_string();
                // The back-end knows the keys of its birth; it may have made others since.
                let host_keys = match record.access {
                    Some(Access::Ssh { host_keys: own, .. }) if !own.is_empty() => own,
                    _ => host_keys,
                };
                let login = self.performer().spawned_login(
                    title,
                    intent,
                    destination,
                    identity_file,
                    host_keys,
                );
                introduce_remote(login, &bootstrap).await
            }
            None => Err("its back-end does not say how to reach it".to_owned()),
        }
    }

    /// The members that answer here, and where they are.
    async fn bootstrap(&self, name: Name) -> Result<Bootstrap, String> {
        let members = self.door.members().await.map_err(|error| chain(&error))?;
        let living = members
            .into_iter()
            .filter(|member| member.status == Status::Alive && !member.endpoints.is_empty());
        let peers =
            living.map(|member| BootstrapPeer { id: member.id, endpoints: member.endpoints });
        let peers = peers.take(PEERS_MAX).collect();
        Ok(Bootstrap { genesis: self.genesis.clone(), name, peers })
    }

    async fn introduce_local(&self, home: Home, bootstrap: Bootstrap) -> Result<(), String> {
        // Only what it says from this moment on is of interest.
        let log_start = std::fs::metadata(home.log_file()).map_or(0, |metadata| metadata.len());
        let door = self.performer().doors().open(Way::Local { home, log_start }).await;
        let door = door.map_err(|error| chain(&error))?;
        // It refuses the members of another cluster.
        door.introduce(bootstrap).await.map_err(|error| chain(&error))
    }
}

async fn introduce_remote(login: SshTarget, bootstrap: &Bootstrap) -> Result<(), String> {
    let needs_sudo = !login.destination.is_root();
    let host = OpenSshHost::connect(login).await.map_err(|error| chain(&error.cause))?;
    let layout = Layout::default();
    for (verb, input) in [("status", Vec::new()), ("adopt", json!(bootstrap).to_string().into())] {
        let mut command = layout.agent_command(verb, needs_sudo);
        command.stdin = input;
        let output = host.run(command).await.map_err(|error| chain(&error.cause))?;
        if output.status != 0 {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("its agent: {}", said.trim()));
        }
    }
    Ok(())
}
