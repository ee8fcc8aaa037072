//! The artefacts that the configuration names, fetched from whichever member has them, so that each
//! has all; and the others, removed.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;

use crate::agent::clock::wall_clock;
use crate::agent::handle::AgentHandle;
use crate::agent::handle::Command;
use crate::agent::peer::client::PeerClient;
use crate::config::artefacts::Artefacts;
use crate::config::schema::artefact::ARTEFACTS_MAX;
use crate::config::schema::artefact::Artefact;
use crate::model::identity::NodeId;
use crate::model::member::Status;
use crate::model::time::Timestamp;

/// Until what is missing is asked for again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Longest time without a look at the folder.
const IDLE_INTERVAL: Duration = Duration::from_secs(300);

/// What is not named for this long is removed.
const UNWANTED_FOR: Duration = Duration::from_secs(900);

/// What the configuration names; none while it is not known.
pub type Wanted = Option<BTreeMap<String, Artefact>>;

/// Keeps the folder of one agent as the configuration wants it.
pub struct Collector {
    store: Artefacts,
    handle: AgentHandle,
    client: PeerClient,
    wanted: watch::Receiver<Wanted>,
}

impl Collector {
    /// For the agent behind `handle`.
    #[must_use]
    pub fn new(
        store: Artefacts,
        handle: AgentHandle,
        client: PeerClient,
        wanted: watch::Receiver<Wanted>,
    ) -> Self {
        Self { store, handle, client, wanted }
    }

    /// Runs for as long as the agent does.
    pub async fn run(mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let is_complete = match &wanted {
                Some(wanted) => self.round(wanted).await,
                None => true,
            };
            let wait = if is_complete { IDLE_INTERVAL } else { RETRY_INTERVAL };
            tokio::select! {
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Fetches what is missing; whether everything is there.
    async fn round(&self, wanted: &BTreeMap<String, Artefact>) -> bool {
        let digests: BTreeSet<&str> = wanted.values().map(|it| it.sha256.as_str()).collect();
        let now = wall_clock().as_millis();
        let unwanted_for = u64::try_from(UNWANTED_FOR.as_millis()).unwrap_or(u64::MAX);
        let before = Timestamp::from_millis(now.saturating_sub(unwanted_for));
        if let Err(error) = self.store.prune(&digests, before) {
            tracing::warn!(%error, "artefacts that nobody names are left");
        }
        let missing = wanted.iter().take(ARTEFACTS_MAX);
        let missing: Vec<(&String, &Artefact)> =
            missing.filter(|(_, artefact)| self.store.find(&artefact.sha256).is_none()).collect();
        if missing.is_empty() {
            return true;
        }
        let members = self.others().await;
        let mut is_complete = true;
        for (name, artefact) in missing {
            if self.fetch(&members, artefact).await {
                tracing::info!(%name, "an artefact came");
            } else {
                is_complete = false;
            }
        }
        is_complete
    }

    async fn fetch(&self, members: &[NodeId], artefact: &Artefact) -> bool {
        for node in members {
            match self.client.artefact(*node, &self.store, artefact).await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(node = %node.short(), %error, "an artefact did not come");
                }
            }
        }
        false
    }

    /// The living others, beginning behind this one, so that not all ask the same first.
    async fn others(&self) -> Vec<NodeId> {
        let Ok(fleet) = self.handle.ask(Command::Fleet).await else { return Vec::new() };
        let living = fleet.members.iter().filter(|(_, member)| member.status == Status::Alive);
        let (before, behind): (Vec<NodeId>, Vec<NodeId>) = living
            .map(|(node, _)| *node)
            .filter(|node| *node != fleet.me)
            .partition(|node| *node < fleet.me);
        behind.into_iter().chain(before).collect()
    }
}
