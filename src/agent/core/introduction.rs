//! Whom a newcomer calls first: told with its admission, and again when others come after it.

use std::time::Duration;

use crate::agent::api::Bootstrap;
use crate::agent::api::BootstrapPeer;
use crate::agent::core::Core;
use crate::agent::error::AgentError;
use crate::agent::handle::Reply;
use crate::model::member::Status;
use crate::model::name::Name;

/// Members named to a newcomer through its API or SSH: whoever comes in one call with it is among
/// them, so that one of them is in its reach.
pub(super) const PEERS_MAX: usize = 100;

/// Members named to a newcomer in the one packet that answers a knock.
pub(super) const KNOCK_PEERS_MAX: usize = 5;

/// How long members that were introduced are listened to before the document names them.
const INTRODUCTION: Duration = Duration::from_secs(60);

impl Core {
    /// What a newcomer must know: this member first, then others that answer, then those that are
    /// on their way.
    pub(super) fn bootstrap(&self, name: Name, peers_max: usize) -> Bootstrap {
        let me = BootstrapPeer { id: self.me(), endpoints: self.endpoints() };
        let living = self.living();
        let is_coming = |status| !matches!(status, Some(Status::Failed | Status::Left));
        let admissions = &self.roster().members;
        let coming = admissions.iter().filter(|(node, _)| {
            **node != me.id && !living.contains(node) && is_coming(self.parts.gossip.status(**node))
        });
        let coming = coming.map(|(node, _)| *node);
        let others = living.iter().copied().chain(coming).filter_map(|id| {
            let facts = self.parts.gossip.facts(id).map(|facts| facts.endpoints.clone());
            let admitted = || admissions.get(&id).map(|admission| admission.endpoints.clone());
            let endpoints = facts.or_else(admitted)?;
            (!endpoints.is_empty()).then_some(BootstrapPeer { id, endpoints })
        });
        let peers = std::iter::once(me.clone()).chain(others).take(peers_max).collect();
        Bootstrap { genesis: self.parts.genesis.clone(), name, peers }
    }

    /// Takes further members to call, from whoever takes this machine into the cluster, or found it
    /// alone in it. They are listened to for a while though the document does not name them: it may
    /// be older than they are. Whoever may call here could admit them as well.
    pub(super) fn introduce(&mut self, bootstrap: &Bootstrap, reply: Reply<()>) {
        if bootstrap.genesis != self.parts.genesis {
            let why = format!("this machine's cluster is {}", self.parts.genesis.cluster_id());
            let _ = reply.send(Err(AgentError::Conflict(why)));
            return;
        }
        let me = self.me();
        let until = self.now() + INTRODUCTION;
        for peer in bootstrap.peers.iter().filter(|peer| peer.id != me).take(PEERS_MAX) {
            let known = &mut self.parts.file.peers;
            known.retain(|known| known.id != peer.id);
            known.push(peer.clone());
            self.introduced.insert(peer.id, until);
        }
        let surplus = self.parts.file.peers.len().saturating_sub(PEERS_MAX);
        self.parts.file.peers.drain(..surplus);
        while self.introduced.len() > PEERS_MAX {
            self.introduced.pop_first();
        }
        self.refresh_members();
        let _ = reply.send(Ok(()));
    }
}
