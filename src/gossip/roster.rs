//! The members that the document names, and how each is seen.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use foca::Member;
use foca::State;

use crate::gossip::directory::Directory;
use crate::gossip::life::Life;
use crate::model::identity::NodeId;
use crate::model::member::Status;
use crate::model::time::Moment;

/// One named member.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) node: NodeId,
    pub(super) status: Status,
    pub(super) since: Moment,
    /// The last generation in which it said goodbye. SWIM has no word for that.
    goodbye: Option<u64>,
    /// Its place among those that are seen as it is.
    place: usize,
}

/// Who was added and who was removed.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) added: Vec<Ipv6Addr>,
    pub(super) removed: Vec<Ipv6Addr>,
}

/// The named members besides this one, by address.
#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: Directory<Ipv6Addr, Entry>,
    addresses: Directory<NodeId, Ipv6Addr>,
    /// Those that are seen alike, by status, in no order: members are drawn from them all the time.
    seen: [Vec<Ipv6Addr>; Status::ALL.len()],
}

impl Roster {
    /// Makes `nodes` the named members.
    pub(super) fn set(&mut self, now: Moment, nodes: &BTreeSet<NodeId>) -> Change {
        let mut change = Change::default();
        for node in nodes {
            if !self.addresses.contains(*node) {
                let address = node.address();
                let (status, goodbye) = (Status::Booting, None);
                let place = self.enlist(address, status);
                let entry = Entry { node: *node, status, since: now, goodbye, place };
                self.addresses.insert(*node, address);
                self.entries.insert(address, entry);
                change.added.push(address);
            }
        }
        let gone: Vec<NodeId> = self
            .addresses
            .iter()
            .map(|(node, _)| node)
            .filter(|node| !nodes.contains(node))
            .collect();
        for node in gone {
            let Some(address) = self.addresses.remove(node) else { continue };
            if let Some(entry) = self.entries.remove(address) {
                self.strike(entry.status, entry.place);
            }
            change.removed.push(address);
        }
        change
    }

    /// Adds a member to those that are seen as `status`; its place among them.
    fn enlist(&mut self, address: Ipv6Addr, status: Status) -> usize {
        let alike = &mut self.seen[status as usize];
        alike.push(address);
        alike.len() - 1
    }

    /// Takes the member at `place` from those that are seen as `status`: the last takes its place.
    fn strike(&mut self, status: Status, place: usize) {
        let alike = &mut self.seen[status as usize];
        if place < alike.len() {
            alike.swap_remove(place);
        }
        if let Some(moved) = alike.get(place).and_then(|moved| self.entries.get_mut(*moved)) {
            moved.place = place;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn address(&self, node: NodeId) -> Option<Ipv6Addr> {
        self.addresses.get(node).copied()
    }

    pub(super) fn get(&self, address: Ipv6Addr) -> Option<&Entry> {
        self.entries.get(address)
    }

    pub(super) fn contains(&self, address: Ipv6Addr) -> bool {
        self.entries.contains(address)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Ipv6Addr, &Entry)> {
        self.entries.iter()
    }

    /// The addresses of those that are seen as `status`.
    pub(super) fn seen_as(&self, status: Status) -> &[Ipv6Addr] {
        &self.seen[status as usize]
    }

    /// Notes that a life ended with a goodbye; whether that was news.
    pub(super) fn say_goodbye(&mut self, life: Life) -> bool {
        let Some(entry) = self.entries.get_mut(life.address) else { return false };
        let is_news = entry.goodbye.is_none_or(|known| known < life.generation);
        if is_news {
            entry.goodbye = Some(life.generation);
        }
        is_news
    }

    /// Whether this life ended with a goodbye.
    pub(super) fn has_left(&self, life: Life) -> bool {
        self.get(life.address)
            .and_then(|entry| entry.goodbye)
            .is_some_and(|generation| generation >= life.generation)
    }

    /// Sets how the member is seen from what SWIM knows of it; the new status where that changed.
    pub(super) fn see(&mut self, now: Moment, member: &Member<Life>) -> Option<(NodeId, Status)> {
        let status = match member.state() {
            State::Alive => Status::Alive,
            State::Suspect => Status::Suspect,
            State::Down if self.has_left(*member.id()) => Status::Left,
            State::Down => Status::Failed,
        };
        let address = member.id().address;
        let before = self.get(address).filter(|entry| entry.status != status)?;
        let (earlier, place) = (before.status, before.place);
        self.strike(earlier, place);
        let place = self.enlist(address, status);
        let entry = self.entries.get_mut(address)?;
        (entry.status, entry.since, entry.place) = (status, now, place);
        Some((entry.node, status))
    }
}
