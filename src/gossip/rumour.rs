//! News that SWIM has no word for: goodbyes and facts. Each member passes each piece on a few
//! times, to members drawn at random, until all have heard it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use serde::Deserialize;
use serde::Serialize;

use crate::gossip::facts::Parcel;
use crate::gossip::packet::PACKET_SIZE_MAX;
use crate::gossip::packet::Packet;

/// Bytes of a packet that rumours may fill: the frame and the list's length come before them.
const ROOM: usize = PACKET_SIZE_MAX - 4;

/// Pieces of news kept for passing on. Beyond that the one told most often goes: an exchange will
/// bring it to those who missed it.
const QUEUE_LENGTH_MAX: usize = 64;

/// One piece of news.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Rumour {
    /// A member said goodbye. Unsigned, as all of SWIM's news: one that lives says so by renewing
    /// itself.
    Left {
        /// Who.
        address: Ipv6Addr,
        /// In which life.
        generation: u64,
    },
    /// A member's facts.
    Facts(Parcel),
    /// The sender holds facts too large for a packet.
    FactsHeld {
        /// Whose.
        address: Ipv6Addr,
        /// Which.
        version: u64,
    },
}

/// What a later rumour replaces: news of the same kind about the same member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    Left(Ipv6Addr),
    Facts(Ipv6Addr),
}

#[derive(Debug)]
struct Item {
    encoded: Vec<u8>,
    remaining: u8,
}

/// News still to be passed on.
#[derive(Debug, Default)]
pub(super) struct Rumours {
    items: BTreeMap<Topic, Item>,
}

impl Rumours {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Will pass `rumour` on `transmissions` times. Facts too large for a packet are only
    /// announced as held.
    pub(super) fn add(&mut self, rumour: &Rumour, transmissions: u8) {
        let topic = match rumour {
            Rumour::Left { address, .. } => Topic::Left(*address),
            Rumour::Facts(Parcel { address, .. }) | Rumour::FactsHeld { address, .. } => {
                Topic::Facts(*address)
            }
        };
        let Ok(encoded) = postcard::to_allocvec(rumour) else { return };
        if encoded.len() <= ROOM {
            self.items.insert(topic, Item { encoded, remaining: transmissions });
        } else if let Rumour::Facts(Parcel { address, version, .. }) = rumour {
            let held = Rumour::FactsHeld { address: *address, version: *version };
            self.add(&held, transmissions);
        }
        if self.items.len() > QUEUE_LENGTH_MAX {
            let most_told = self.items.iter().min_by_key(|(_, item)| item.remaining);
            if let Some(topic) = most_told.map(|(topic, _)| *topic) {
                self.items.remove(&topic);
            }
        }
    }

    /// Says nothing more about a member.
    pub(super) fn forget(&mut self, address: Ipv6Addr) {
        self.items.remove(&Topic::Left(address));
        self.items.remove(&Topic::Facts(address));
    }

    /// The next packet for one member: the least told news, as much as fits.
    pub(super) fn next_packet(&mut self) -> Option<Vec<u8>> {
        let mut order: Vec<Topic> = self.items.keys().copied().collect();
        order.sort_by_key(|topic| self.items.get(topic).map_or(0, |item| u8::MAX - item.remaining));
        let mut room = ROOM;
        order.retain(|topic| {
            let size = self.items.get(topic).map_or(usize::MAX, |item| item.encoded.len());
            let fits = size <= room;
            if fits {
                room -= size;
            }
            fits
        });
        if order.is_empty() {
            return None;
        }
        let chosen: Vec<&[u8]> = order
            .iter()
            .filter_map(|topic| self.items.get(topic))
            .map(|item| item.encoded.as_slice())
            .collect();
        let packet = Packet::frame_rumours(&chosen);
        for topic in order {
            if let Some(item) = self.items.get_mut(&topic) {
                item.remaining = item.remaining.saturating_sub(1);
            }
        }
        self.items.retain(|_, item| item.remaining > 0);
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, last)
    }

    fn facts(last: u16, size: usize) -> Rumour {
        Rumour::Facts(Parcel { address: address(last), version: 7, blob: vec![1; size] })
    }

    #[test]
    fn news_is_told_as_often_as_asked_and_then_no_more() {
        let mut rumours = Rumours::default();
        let left = Rumour::Left { address: address(1), generation: 9 };
        rumours.add(&left, 2);
        for _ in 0..2 {
            let packet = rumours.next_packet().unwrap();
            assert_eq!(Packet::decode(&packet), Some(Packet::Rumours(vec![left.clone()])));
        }
        assert_eq!(rumours.next_packet(), None);
    }

    #[test]
    fn a_packet_never_outgrows_the_limit_and_all_news_gets_its_turn() {
        let mut rumours = Rumours::default();
        for last in 0..6 {
            rumours.add(&facts(last, 500), 1);
        }
        let mut told = 0;
        while let Some(packet) = rumours.next_packet() {
            assert!(packet.len() <= PACKET_SIZE_MAX);
            let Some(Packet::Rumours(list)) = Packet::decode(&packet) else { panic!("not read") };
            told += list.len();
        }
        assert_eq!(told, 6);
    }

    #[test]
    fn facts_too_large_for_a_packet_are_announced() {
        let mut rumours = Rumours::default();
        rumours.add(&facts(1, 4_000), 1);
        let packet = rumours.next_packet().unwrap();
        let held = Rumour::FactsHeld { address: address(1), version: 7 };
        assert_eq!(Packet::decode(&packet), Some(Packet::Rumours(vec![held])));
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut rumours = Rumours::default();
        for last in 0..1_000 {
            rumours.add(&Rumour::Left { address: address(last), generation: 1 }, 3);
        }
        assert_eq!(rumours.items.len(), QUEUE_LENGTH_MAX);
    }
}
