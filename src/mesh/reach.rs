//! Members that are pinned: they are not dialled, and dial fewer than others.
//!
//! They have no place on the rings, so that the links among all others hold the mesh together. A
//! `linked` one dials its neighbours on rings that it alone sees itself on, a `tree` one its parent.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use crate::mesh::core::Mesh;
use crate::mesh::schedule::Timer;
use crate::model::identity::NodeId;
use crate::model::reach::Reach;
use crate::model::time::Moment;

impl Mesh {
    /// Says which member this machine hangs on when it is a `tree` one. While nobody is known to
    /// be that member it is as a `linked` one: it must hear from somebody who its parent is.
    pub fn set_parent(&mut self, now: Moment, parent: Option<NodeId>) {
        let is_tree = self.settings.reach == Reach::Tree;
        let parent = parent.filter(|_| is_tree).map(|id| id.address());
        if parent == self.parent {
            return;
        }
        self.parent = parent;
        self.choose(now);
        self.tend_all_soon(now);
    }

    /// Whether this machine begins links to `peer`. It may do so besides when `peer` asks for it.
    pub(super) fn may_dial(&self, peer: Ipv6Addr) -> bool {
        match self.parent {
            Some(parent) => peer == parent,
            None => self.links.get(&peer).is_some_and(|link| link.reach == Reach::Full),
        }
    }

    /// Whether an initiation of `peer` is answered: a pinned machine lets a neighbour change the
    /// keys, and one that it calls at the moment come through its router.
    pub(super) fn admits_link(&self, now: Moment, peer: Ipv6Addr) -> bool {
        self.settings.reach == Reach::Full
            || self
                .links
                .get(&peer)
                .is_some_and(|link| link.live.is_some() || link.punch.is_active(now))
    }

    /// Whether a call of `peer` is heeded.
    pub(super) fn heeds_call(&self, peer: Ipv6Addr) -> bool {
        self.settings.reach == Reach::Full || self.may_dial(peer)
    }

    /// The neighbours to keep, and the failed ones to look after, that the rings do not choose.
    pub(super) fn pinned_choice(&self) -> Option<(BTreeSet<Ipv6Addr>, BTreeSet<Ipv6Addr>)> {
        self.parent.map(|parent| (BTreeSet::from([parent]), BTreeSet::new()))
    }

    /// Whether the link to `peer` is one too many: the way over the parent is there.
    pub(super) fn is_surplus(&self, peer: Ipv6Addr) -> bool {
        self.parent.is_some_and(|parent| parent != peer && self.live.contains(&parent))
    }

    /// Which links are to be had has changed.
    pub(super) fn tend_all_soon(&mut self, now: Moment) {
        for peer in self.links.keys() {
            self.schedule.set_by(Timer::Link(*peer), now);
        }
    }
}
