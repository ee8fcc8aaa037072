//! Where the other members are, kept for the next start.

use std::time::Duration;

use crate::agent::api::BootstrapPeer;
use crate::agent::core::Core;
use crate::agent::known_peers::PEERS_MAX;

/// Changes are gathered this long: many machines may join at once.
const DELAY: Duration = Duration::from_secs(1);

impl Core {
    /// Takes over where the members say they are.
    pub(super) fn remember_members(&mut self) {
        let me = self.me();
        let mut remembered = self.parts.remembered.clone();
        let members = &self.roster().members;
        if members.contains_key(&me) {
            remembered.retain(|node, _| members.contains_key(node));
        }
        for node in members.keys().filter(|node| **node != me) {
            let facts = self.parts.gossip.facts(*node);
            if let Some(facts) = facts.filter(|facts| !facts.endpoints.is_empty())
                && (remembered.len() < PEERS_MAX || remembered.contains_key(node))
            {
                remembered.insert(*node, facts.endpoints.clone());
            }
        }
        if remembered != self.parts.remembered {
            self.parts.remembered = remembered;
            self.remember_soon();
        }
    }

    fn remember_soon(&mut self) {
        if self.remember_at.is_none() {
            self.remember_at = Some(self.now() + DELAY);
        }
    }

    /// Writes down where the members are.
    pub(super) fn write_remembered(&mut self) {
        let peers = self.parts.remembered.iter();
        let peers = peers.map(|(id, at)| BootstrapPeer { id: *id, endpoints: at.clone() });
        if !self.parts.storage.remember(|| peers.collect()) {
            self.remember_soon();
        }
    }
}
