//! The cluster as its own agent reaches it: through its event loop.

use std::sync::Arc;

use serde_json::Value;

use crate::agent::api::AdmitRequest;
use crate::agent::api::Bootstrap;
use crate::agent::api::WriteRequest;
use crate::agent::error::AgentError;
use crate::agent::handle::AgentHandle;
use crate::agent::handle::Command;
use crate::agent::perform::door::Answer;
use crate::agent::perform::door::Door;
use crate::agent::perform::door::DoorError;
use crate::config::artefacts::Artefacts;
use crate::model::cluster::Genesis;
use crate::model::member::Member;

/// The door to the agent that this very program is.
pub struct OwnDoor(AgentHandle, Artefacts);

impl OwnDoor {
    /// The door behind `handle`; `artefacts` are the agent's.
    #[must_use]
    pub fn open(handle: AgentHandle, artefacts: Artefacts) -> Arc<dyn Door> {
        Arc::new(Self(handle, artefacts))
    }
}

#[allow(clippy::needless_pass_by_value)] // What `map_err` hands over.
fn told(error: AgentError) -> DoorError {
    DoorError::Refused(error.to_api())
}

impl Door for OwnDoor {
    fn members(&self) -> Answer<'_, Vec<Member>> {
        Box::pin(async { self.0.ask(Command::Members).await.map_err(told) })
    }

    fn document(&self) -> Answer<'_, Value> {
        Box::pin(async {
            // As the API gives it: with the cluster's id, which stands in no record.
            self.0.ask(Command::Document).await.map_err(told)
        })
    }

    fn artefact(&self, digest: String) -> Answer<'_, Vec<u8>> {
        Box::pin(async move {
            let missing = || AgentError::NotFound(format!("the artefact {digest} is not here"));
            let path = self.1.find(&digest).ok_or_else(|| told(missing()))?;
            tokio::fs::read(path).await.map_err(|_| told(missing()))
        })
    }

    fn genesis(&self) -> Answer<'_, Genesis> {
        Box::pin(async { Ok(self.0.ask(Command::Status).await.map_err(told)?.genesis) })
    }

    fn write(&self, request: WriteRequest) -> Answer<'_, ()> {
        Box::pin(
            async move { self.0.ask(|reply| Command::Write(request, reply)).await.map_err(told) },
        )
    }

    fn admit(&self, request: AdmitRequest) -> Answer<'_, Bootstrap> {
        Box::pin(
            async move { self.0.ask(|reply| Command::Admit(request, reply)).await.map_err(told) },
        )
    }

    fn introduce(&self, bootstrap: Bootstrap) -> Answer<'_, ()> {
        Box::pin(async move {
            let told_it = self.0.ask(|reply| Command::Introduce(bootstrap, reply));
            told_it.await.map_err(told)
        })
    }

    fn evict(&self, node: String) -> Answer<'_, ()> {
        Box::pin(async move {
            self.0.ask(|reply| Command::Evict(node, reply)).await.map(drop).map_err(told)
        })
    }
}
