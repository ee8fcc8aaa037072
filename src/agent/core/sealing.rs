//! Secrets follow the members: newcomers are given the keys they may hold, who goes is taken out,
//! and it is written down what that one knows.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::agent::clock;
use crate::agent::clock::wall_clock;
use crate::agent::core::Core;
use crate::agent::error::chain;
use crate::agent::resealing;
use crate::agent::resealing::NewSeals;
use crate::config::change::Change;
use crate::model::identity::NodeId;
use crate::model::member::Member;
use crate::model::secret::SecretRecords;
use crate::model::secret::SecretValue;
use crate::reconcile::sealing::Candidate;
use crate::reconcile::sealing::Parties;
use crate::reconcile::sealing::Resealing;
use crate::reconcile::sealing::resealings;
use crate::reconcile::sealing::sealer;
use crate::seal::error::SealError;
use crate::seal::key::Recipient;
use crate::seal::secret::Opener;
use crate::seal::secret::seal_key;

/// Why a key could not be sealed.
#[derive(Debug, thiserror::Error)]
enum ResealError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Random(#[from] clock::RandomError),
}

impl Core {
    /// Tells whoever makes backups and collects artefacts what the document says about them.
    pub(super) fn refresh_backups(&mut self) {
        let wish = &self.fleet_records().backups;
        let artefacts = &self.fleet_records().artefacts;
        self.parts.tending.artefacts.send_if_modified(|known| {
            let is_new = artefacts.is_some() && known != artefacts;
            if is_new {
                known.clone_from(artefacts);
            }
            is_new
        });
        self.parts.tending.backups.send_if_modified(|known| {
            let is_new = known != wish;
            if is_new {
                known.clone_from(wish);
            }
            is_new
        });
    }

    /// Takes the document's secrets in, and does this member's share of sealing them.
    pub(super) fn refresh_secrets(&mut self) {
        let secrets = Arc::clone(&self.roster().secrets);
        self.parts.tending.vault.replace(Arc::clone(&secrets));
        self.refresh_authorized(&secrets);
        let me = self.me();
        let is_member = self.roster().members.contains_key(&me);
        if secrets.is_empty() || !is_member || self.disk_problem.is_some() {
            return;
        }
        let mine = self.own_share(&secrets, me);
        for resealing in mine {
            match self.changes(&secrets, &resealing) {
                Ok(changes) => {
                    let note = format!("seal {} anew", resealing.secret);
                    // One that does not reach the disk is due again.
                    self.write(&note, &changes, Box::new(|_, _| {}));
                }
                Err(error) => {
                    tracing::warn!(secret = %resealing.secret, error = chain(&error), "not sealed");
                }
            }
        }
    }

    /// What is due, and this member's to do.
    fn own_share(&self, secrets: &SecretRecords, me: NodeId) -> Vec<Resealing> {
        // What a member says of itself counts only where a selector asks for it.
        let is_asked = secrets.values().any(|record| !record.select.is_empty());
        let members = if is_asked { self.members() } else { Vec::new() };
        let members: BTreeMap<NodeId, Member> =
            members.into_iter().map(|member| (member.id, member)).collect();
        let roster = self.roster();
        let candidates = roster.members.iter().map(|(node, admission)| {
            // Without facts nothing is known of it but its name.
            let is_known = self.parts.gossip.facts(*node).is_some();
            let seen = members.get(node).filter(|_| is_known);
            (*node, Candidate { name: &admission.name, role: admission.role, seen })
        });
        let parties = Parties {
            members: candidates.collect(),
            gone: roster.evicted.iter().map(|(node, gone)| (*node, &gone.name)).collect(),
            recovery: roster.recovery.clone(),
        };
        let mut living: BTreeSet<NodeId> = self.living().into_iter().collect();
        living.insert(me);
        let mut due = resealings(secrets, &parties);
        due.retain(|resealing| {
            let value = secrets.get(&resealing.secret).and_then(|record| record.current());
            let sealer = value.and_then(|(_, value)| sealer(resealing, value, &parties, &living));
            sealer == Some(me)
        });
        due
    }

    fn changes(
        &self,
        secrets: &SecretRecords,
        resealing: &Resealing,
    ) -> Result<Vec<Change>, ResealError> {
        let mut seals = NewSeals::default();
        let value = secrets.get(&resealing.secret).and_then(|record| record.current());
        // Where no living member can open it, what takes no opening is written all the same.
        let me = self.me();
        let opens = |value: &SecretValue| value.keys.contains_key(&me);
        let openable = value.filter(|(_, value)| resealing.needs_opening() && opens(value));
        if let Some((_, value)) = openable {
            let key = Opener::member(&self.parts.key).value_key(value)?;
            for node in &resealing.add {
                let sealed = seal_key(&key, Recipient::of(*node), &clock::random()?)?;
                seals.members.insert(*node, sealed);
            }
            for public in &resealing.add_recovery {
                let sealed = seal_key(&key, public.parse()?, &clock::random()?)?;
                seals.recovery.insert(public.clone(), sealed);
            }
        }
        Ok(resealing::changes(resealing, seals, wall_clock()))
    }
}
