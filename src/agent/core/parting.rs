//! A machine that goes: before its goodbyes it hands over what it knows. Who came through it may have
//! heard of nobody else.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::agent::core::Core;
use crate::agent::core::Stopping;
use crate::model::identity::NodeId;
use crate::model::time::Moment;

/// How long the neighbours may take to be handed everything. More is not waited for: whoever is
/// destroyed is killed after a while.
const HAND_OVER: Duration = Duration::from_secs(2);

/// How often it is looked whether that is done.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// What is still to be done before this machine goes.
#[derive(Debug)]
pub(super) struct Parting {
    why: Stopping,
    leave: bool,
    /// Whether a signal asked for it.
    is_signalled: bool,
    deadline: Moment,
    check_at: Moment,
    /// Neighbours that were being talked to when it began, about what was known then: they are
    /// talked to once more.
    once_more: BTreeSet<NodeId>,
}

impl Core {
    /// Goes, once each neighbour was told of all members, where they are, and of the document.
    pub(super) fn part(&mut self, why: Stopping, leave: bool) {
        if let Some(parting) = &mut self.parting {
            parting.leave |= leave;
            if why == Stopping::Evicted {
                parting.why = why;
            }
            return;
        }
        let now = self.now();
        let neighbours = self.neighbours();
        let once_more = neighbours.intersection(&self.exchanging).copied().collect();
        for node in neighbours {
            self.exchange_with(node);
            self.sync_with(node);
        }
        let deadline = now + HAND_OVER;
        self.parting =
            Some(Parting { why, leave, is_signalled: false, deadline, check_at: now, once_more });
        self.check_parting();
    }

    /// A signal asks this machine to end; a second one, to do so at once.
    pub fn end(&mut self) {
        self.part(Stopping::Asked, false);
        let Some(parting) = &mut self.parting else { return };
        if std::mem::replace(&mut parting.is_signalled, true) {
            let (why, leave) = (parting.why, parting.leave);
            self.stop(why, leave);
        }
    }

    /// A gossip exchange has ended.
    pub(super) fn exchanged(&mut self, node: NodeId) {
        self.exchanging.remove(&node);
        let parting = self.parting.as_mut();
        if parting.is_some_and(|parting| parting.once_more.remove(&node)) {
            self.exchange_with(node);
        }
    }

    /// When it is to be looked whether this machine may go.
    pub(super) fn parting_check(&self) -> Option<Moment> {
        self.parting.as_ref().filter(|_| self.stopping.is_none()).map(|parting| parting.check_at)
    }

    /// Goes when everything is handed over, or there was time enough for it. Neighbours that went
    /// themselves are not waited for.
    pub(super) fn check_parting(&mut self) {
        let Some(parting) = self.parting.as_ref().filter(|_| self.stopping.is_none()) else {
            return;
        };
        let now = self.now();
        let is_busy = |node: &NodeId| {
            self.exchanging.contains(node)
                || self.syncing.contains_key(node)
                || self.pushing.contains(node)
        };
        let is_done = self.pending.is_empty() && !self.neighbours().iter().any(is_busy);
        let (why, leave) = (parting.why, parting.leave);
        if is_done || now >= parting.deadline {
            self.stop(why, leave);
        } else if let Some(parting) = &mut self.parting {
            parting.check_at = now + CHECK_INTERVAL;
        }
    }

    /// Members with a link to this one.
    pub(super) fn neighbours(&self) -> BTreeSet<NodeId> {
        self.parts.mesh.report().links.iter().map(|link| link.peer).collect()
    }
}
