//! Who links to whom, without coordination: k rings over the same members, each in an order of
//! its own, and on every ring a link to either side.
//!
//! The union of k random Hamiltonian cycles is connected, has degree 2k at most and is an expander
//! with high probability (Law and Siu, "Distributed construction of random expander networks",
//! 2003). One member more or less changes at most k pairs besides its own.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use sha2::{Digest, Sha256};

/// How many members a walk along one ring passes because they do not answer.
const WALK_MAX: usize = 8;

/// The rings over one set of members.
#[derive(Debug, Clone, Default)]
pub struct Rings {
    members: BTreeSet<Ipv6Addr>,
    rings: Vec<Vec<(u64, Ipv6Addr)>>,
}

impl Rings {
    /// Puts `members` on `count` rings.
    #[must_use]
    pub fn new(count: u8, members: impl IntoIterator<Item = Ipv6Addr>) -> Self {
        let rings = (0..count).map(|_| Vec::new()).collect();
        let mut rings = Self { members: BTreeSet::new(), rings };
        rings.hold(members.into_iter().collect());
        rings
    }

    /// Makes `members` the ones on the rings; those that stay are not placed again.
    pub fn hold(&mut self, members: BTreeSet<Ipv6Addr>) {
        if members == self.members {
            return;
        }
        let added: Vec<Ipv6Addr> = members.difference(&self.members).copied().collect();
        for (ring, order) in (0u8..).zip(&mut self.rings) {
            order.retain(|(_, member)| members.contains(member));
            order.extend(added.iter().map(|member| (position(ring, *member), *member)));
            order.sort_unstable();
        }
        self.members = members;
    }

    /// The members that `own` keeps links to. On each ring and in each direction that is the
    /// first one `answers` holds for, and those passed on the way to it.
    pub fn neighbours(
        &self,
        own: Ipv6Addr,
        answers: impl Fn(Ipv6Addr) -> bool,
    ) -> BTreeSet<Ipv6Addr> {
        let mut wanted = BTreeSet::new();
        for walk in self.walks(own) {
            for member in walk.take(WALK_MAX) {
                wanted.insert(member);
                if answers(member) {
                    break;
                }
            }
        }
        wanted
    }

    /// The failed members that `own` looks after: those between it and the next living member in
    /// either direction of each ring.
    pub fn wards(&self, own: Ipv6Addr, is_alive: impl Fn(Ipv6Addr) -> bool) -> BTreeSet<Ipv6Addr> {
        let mut wards = BTreeSet::new();
        for walk in self.walks(own) {
            wards.extend(walk.take_while(|member| !is_alive(*member)));
        }
        wards
    }

    /// Both directions of every ring, starting beside `own` and ending before it.
    fn walks(
        &self,
        own: Ipv6Addr,
    ) -> impl Iterator<Item = Box<dyn Iterator<Item = Ipv6Addr> + '_>> {
        (0u8..).zip(&self.rings).flat_map(move |(ring, order)| {
            let spot = order.partition_point(|entry| *entry < (position(ring, own), own));
            let after = spot + usize::from(order.get(spot).is_some_and(|entry| entry.1 == own));
            let (before, after) = (&order[..spot], &order[after..]);
            let forward = after.iter().chain(before);
            let backward = before.iter().rev().chain(after.iter().rev());
            [
                Box::new(forward.map(|entry| entry.1)) as Box<dyn Iterator<Item = Ipv6Addr>>,
                Box::new(backward.map(|entry| entry.1)),
            ]
        })
    }
}

/// A member's place on a ring: the first eight bytes, big-endian, of
/// SHA-256("raptor/1 ring" 0 ring address).
#[must_use]
pub fn position(ring: u8, member: Ipv6Addr) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"raptor/1 ring\0");
    hash.update([ring]);
    hash.update(member.octets());
    let digest = hash.finalize();
    let mut first = [0u8; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Pairs = BTreeSet<(Ipv6Addr, Ipv6Addr)>;

    fn pairs(rings: u8, members: &BTreeSet<Ipv6Addr>) -> Pairs {
        let rings = Rings::new(rings, members.iter().copied());
        let mut pairs = Pairs::new();
        for own in members {
            for other in rings.neighbours(*own, |_| true) {
                pairs.insert((*own.min(&other), *own.max(&other)));
            }
        }
        pairs
    }

    fn members(count: usize) -> impl Strategy<Value = BTreeSet<Ipv6Addr>> {
        prop::collection::btree_set(any::<u128>().prop_map(Ipv6Addr::from), 2..count)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn connected_and_of_bounded_degree(members in members(60), count in 1u8..5) {
            let pairs = pairs(count, &members);
            let mut reached: BTreeSet<Ipv6Addr> = members.iter().take(1).copied().collect();
            for _ in 0..members.len() {
                let more: Vec<_> = pairs
                    .iter()
                    .filter(|(a, b)| reached.contains(a) || reached.contains(b))
                    .flat_map(|(a, b)| [*a, *b])
                    .collect();
                reached.extend(more);
            }
            prop_assert_eq!(&reached, &members);
            for member in &members {
                let degree = pairs.iter().filter(|(a, b)| a == member || b == member).count();
                prop_assert!(degree <= 2 * usize::from(count));
            }
        }

        /// Of the pairs that the changed member is no part of, at most k appear when it goes
        /// and at most k disappear when it comes.
        #[test]
        fn one_member_moves_few_links(members in members(60), count in 1u8..5, pick in any::<usize>()) {
            let gone = *members.iter().nth(pick % members.len()).unwrap();
            let fewer: BTreeSet<_> = members.iter().copied().filter(|m| *m != gone).collect();
            let (with, without) = (pairs(count, &members), pairs(count, &fewer));
            let others = |pair: &&(Ipv6Addr, Ipv6Addr)| pair.0 != gone && pair.1 != gone;
            prop_assert!(without.difference(&with).count() <= usize::from(count));
            prop_assert_eq!(with.difference(&without).filter(others).count(), 0);
            prop_assert!(with.symmetric_difference(&without).count() <= 3 * usize::from(count));
        }

        #[test]
        fn rings_that_changed_are_as_if_new(before in members(40), after in members(40)) {
            let mut rings = Rings::new(3, before.iter().copied());
            let some = before.iter().take(9).chain(&after).copied();
            rings.hold(some.clone().collect());
            prop_assert_eq!(rings.rings, Rings::new(3, some).rings);
        }

        #[test]
        fn wanting_is_mutual(members in members(40)) {
            let rings = Rings::new(3, members.iter().copied());
            for own in &members {
                for other in rings.neighbours(*own, |_| true) {
                    prop_assert!(rings.neighbours(other, |_| true).contains(own));
                }
            }
        }
    }

    #[test]
    fn silent_members_are_passed_and_looked_after() {
        let members: Vec<_> = (1..=5u128).map(Ipv6Addr::from).collect();
        let rings = Rings::new(1, members.iter().copied());
        let own = members[0];
        let first = rings.neighbours(own, |_| true);
        let further = rings.neighbours(own, |member| !first.contains(&member));
        assert_eq!(further.len(), 4);
        assert_eq!(rings.wards(own, |member| !first.contains(&member)), first);
    }
}
