//! A hash over what all members should agree on. Suspicions come and go faster than exchanges do, so
//! they are left out.
//!
//! It is the sum of a hash of each member, so that a change costs one hash and not one of each member.
//! It finds differences and proves nothing: whoever wants to hide one need only say that there is none.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use foca::State;
use sha2::Digest;
use sha2::Sha512;

use crate::gossip::directory::Directory;
use crate::gossip::exchange::Entry;

/// The sum over the other members, brought up to date when it is asked for.
#[derive(Debug, Default)]
pub(super) struct Prints {
    of: Directory<Ipv6Addr, u128>,
    sum: u128,
    touched: BTreeSet<Ipv6Addr>,
}

impl Prints {
    /// What is known of this member may have changed.
    pub(super) fn touch(&mut self, address: Ipv6Addr) {
        self.touched.insert(address);
    }

    /// The sum, where `known` tells what is known of a member; none for one that is gone.
    pub(super) fn sum(&mut self, known: impl Fn(Ipv6Addr) -> Option<Entry>) -> u128 {
        for address in std::mem::take(&mut self.touched) {
            let later = known(address).map(|entry| print(&entry));
            let earlier = match later {
                Some(later) => self.of.insert(address, later),
                None => self.of.remove(address),
            };
            self.sum = self.sum.wrapping_sub(earlier.unwrap_or_default());
            self.sum = self.sum.wrapping_add(later.unwrap_or_default());
        }
        self.sum
    }
}

/// The hash of what is known of one member.
pub(super) fn print(entry: &Entry) -> u128 {
    let mut hash = Sha512::new();
    hash.update(entry.address.octets());
    if let Some(known) = &entry.known {
        hash.update([1, u8::from(known.state == State::Down), u8::from(known.has_left)]);
        hash.update(known.generation.to_le_bytes());
    } else {
        hash.update([0]);
    }
    hash.update(entry.facts.to_le_bytes());
    let digest = hash.finalize();
    let mut short = [0u8; 16];
    short.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(short)
}

/// The fingerprint of all that is known.
pub(super) fn fingerprint(digest: &[Entry]) -> [u8; 16] {
    digest.iter().map(print).fold(0, u128::wrapping_add).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::gossip::exchange::Known;

    fn entry(last: u16, generation: u64, state: State) -> Entry {
        let known = Known { generation, incarnation: 0, state, has_left: false };
        let address = Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, last);
        Entry { address, known: Some(known), facts: 3 }
    }

    #[test]
    fn it_sees_members_lives_and_facts_but_no_suspicion() {
        let print = |entry: Entry| fingerprint(&[entry]);
        let alive = entry(1, 1, State::Alive);
        assert_eq!(print(alive), print(entry(1, 1, State::Suspect)));
        assert_ne!(print(alive), print(entry(1, 1, State::Down)));
        assert_ne!(print(alive), print(entry(1, 2, State::Alive)));
        assert_ne!(print(alive), print(entry(2, 1, State::Alive)));
        assert_ne!(print(alive), print(Entry { facts: 4, ..alive }));
        assert_ne!(print(alive), print(Entry { known: None, ..alive }));
        // Two that changed places are not the same.
        let swapped = [entry(1, 2, State::Alive), entry(2, 1, State::Alive)];
        assert_ne!(fingerprint(&[alive, entry(2, 2, State::Alive)]), fingerprint(&swapped));
    }

    #[test]
    fn a_sum_that_followed_every_change_is_the_sum_of_all() {
        let mut prints = Prints::default();
        let mut known = BTreeMap::new();
        for step in 0..200u16 {
            let member = step * 7 % 10;
            let address = entry(member, 0, State::Alive).address;
            if step % 5 == 4 {
                known.remove(&address);
            } else {
                known.insert(address, entry(member, u64::from(step), State::Alive));
            }
            prints.touch(address);
            if step % 3 == 0 {
                let all: Vec<Entry> = known.values().copied().collect();
                let sum = prints.sum(|address| known.get(&address).copied());
                assert_eq!(sum.to_le_bytes(), fingerprint(&all));
            }
        }
    }
}
