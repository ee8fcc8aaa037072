//! A map by keys that are hashes already: the addresses and the keys of members.
//!
//! A look-up touches two or three lines of memory, where a tree of a thousand members touches twenty
//! that nobody looked at for a while; every packet makes several. What is iterated comes in an order
//! that follows from what was inserted and removed, so that a simulation repeats itself.

use std::net::Ipv6Addr;

use crate::model::identity::NodeId;

/// The smallest number of places; always a power of two.
const PLACES_MIN: usize = 8;

/// A key whose bits are as good as random. Who grinds members' keys until their bits agree slows
/// a look-up down to one after another, and must have had them all admitted.
pub(super) trait Hashed: Copy + Eq {
    /// The bits.
    fn bits(self) -> u64;
}

impl Hashed for Ipv6Addr {
    fn bits(self) -> u64 {
        self.octets().last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

impl Hashed for NodeId {
    fn bits(self) -> u64 {
        self.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// Where an entry is, and enough of its key to pass most others by without a look at theirs.
#[derive(Debug, Clone, Copy)]
struct Place {
    tag: u32,
    entry: u32,
}

const VACANT: Place = Place { tag: 0, entry: u32::MAX };

impl Place {
    fn is_vacant(self) -> bool {
        self.entry == u32::MAX
    }

    fn entry(self) -> usize {
        self.entry as usize
    }
}

/// Entries one after another, and a table of places with linear probing, at most half full.
#[derive(Debug)]
pub(super) struct Directory<K, V> {
    entries: Vec<(K, V)>,
    places: Vec<Place>,
}

impl<K, V> Default for Directory<K, V> {
    fn default() -> Self {
        Self { entries: Vec::new(), places: Vec::new() }
    }
}

impl<K: Hashed, V> Directory<K, V> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        let place = self.find(key)?;
        self.entries.get(self.places[place].entry()).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let place = self.find(key)?;
        self.entries.get_mut(self.places[place].entry()).map(|(_, value)| value)
    }

    pub(super) fn contains(&self, key: K) -> bool {
        self.find(key).is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.entries.iter().map(|(key, value)| (*key, value))
    }

    /// Puts `value` in the place of the one that `key` had, which is returned.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(held) = self.get_mut(key) {
            return Some(std::mem::replace(held, value));
        }
        self.entries.push((key, value));
        if self.entries.len() * 2 > self.places.len() {
            let room = (self.entries.len() * 2).next_power_of_two().max(PLACES_MIN);
            self.places = vec![VACANT; room];
            for entry in 0..self.entries.len() {
                self.occupy(entry);
            }
        } else {
            self.occupy(self.entries.len() - 1);
        }
        None
    }

    /// Removes an entry: the last takes its place among the entries.
    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let place = self.find(key)?;
        let entry = self.places[place].entry();
        self.vacate(place);
        let (_, value) = self.entries.swap_remove(entry);
        if let Some((moved, _)) = self.entries.get(entry) {
            let (bits, last) = (moved.bits(), self.entries.len());
            let mut place = self.home(bits);
            while self.places[place].entry() != last {
                place = self.after(place);
            }
            self.places[place].entry = narrow(entry);
        }
        Some(value)
    }

    /// Where a key's place is looked for first.
    #[allow(clippy::cast_possible_truncation)] // What is cut off would be masked out.
    fn home(&self, bits: u64) -> usize {
        bits as usize & (self.places.len() - 1)
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    /// The place of `key`. It ends: half of the places are vacant.
    fn find(&self, key: K) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        let (bits, mut place) = (key.bits(), self.home(key.bits()));
        loop {
            let found = self.places[place];
            if found.is_vacant() {
                return None;
            }
            if found.tag == tag(bits) && self.entries[found.entry()].0 == key {
                return Some(place);
            }
            place = self.after(place);
        }
    }

    /// Gives an entry the first vacant place from its home on.
    fn occupy(&mut self, entry: usize) {
        let bits = self.entries[entry].0.bits();
        let mut place = self.home(bits);
        while !self.places[place].is_vacant() {
            place = self.after(place);
        }
        self.places[place] = Place { tag: tag(bits), entry: narrow(entry) };
    }

    /// Empties a place, and moves those behind it up that would not be found past a vacant one.
    fn vacate(&mut self, place: usize) {
        let (mut hole, mut next) = (place, self.after(place));
        while !self.places[next].is_vacant() {
            let wanted = self.home(self.entries[self.places[next].entry()].0.bits());
            let mask = self.places.len() - 1;
            if next.wrapping_sub(wanted) & mask >= next.wrapping_sub(hole) & mask {
                self.places[hole] = self.places[next];
                hole = next;
            }
            next = self.after(next);
        }
        self.places[hole] = VACANT;
    }
}

/// The half of the bits that a place is not found by.
fn tag(bits: u64) -> u32 {
    (bits >> 32) as u32
}

/// An entry's number; there are never as many as it holds.
fn narrow(entry: usize) -> u32 {
    u32::try_from(entry).unwrap_or(u32::MAX - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::any;
    use proptest::prelude::prop;
    use proptest::prop_assert_eq;
    use proptest::proptest;

    use super::*;

    /// Few addresses with fewer bits, so that they meet each other and wrap round the end.
    fn address(number: u8) -> Ipv6Addr {
        let bits = u64::from(number % 4).wrapping_sub(2);
        let mut octets = [0xfc; 16];
        octets[1] = number % 32;
        octets[8..].copy_from_slice(&bits.to_le_bytes());
        octets.into()
    }

    proptest! {
        #[test]
        fn it_holds_what_a_tree_holds(steps in prop::collection::vec(any::<(u8, bool)>(), 0..400)) {
            let mut directory = Directory::default();
            let mut tree = BTreeMap::new();
            for (step, (number, is_kept)) in steps.into_iter().enumerate() {
                let key = address(number);
                if is_kept {
                    prop_assert_eq!(directory.insert(key, step), tree.insert(key, step));
                } else {
                    prop_assert_eq!(directory.remove(key), tree.remove(&key));
                }
                prop_assert_eq!(directory.len(), tree.len());
                for number in 0..32 {
                    let key = address(number);
                    prop_assert_eq!(directory.get(key), tree.get(&key));
                    prop_assert_eq!(directory.contains(key), tree.contains_key(&key));
                    prop_assert_eq!(directory.get_mut(key), tree.get_mut(&key));
                }
            }
            let all: BTreeMap<_, _> = directory.iter().map(|(key, value)| (key, *value)).collect();
            prop_assert_eq!(all, tree);
        }
    }
}
