//! Push-pull: two members compare all they know, and each takes over what it lacks.
//!
//! `Compare` costs about twenty bytes and ends there when both know the same. Otherwise the answer
//! is a digest, and a second round (`Reconcile`) carries what the other side lacks, both ways.

use std::net::Ipv6Addr;

use foca::Incarnation;
use foca::Member;
use foca::State;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::gossip::error::GossipError;
use crate::gossip::facts::Parcel;
use crate::gossip::life::Life;
use crate::model::identity::NodeId;

/// The version every exchange starts with.
const VERSION: u8 = 1;

/// Largest exchange in bytes: 10,000 members' digest and as many facts as fit beside it.
pub(super) const EXCHANGE_SIZE_MAX: usize = 4 * 1024 * 1024;

/// Facts put into one message, in bytes; the rest follows with the next exchange.
pub(super) const FACTS_BUDGET: usize = 2 * 1024 * 1024;

/// What one side knows of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) address: Ipv6Addr,
    /// None for a member that was never seen.
    pub(super) known: Option<Known>,
    /// Version of its facts; 0 for none.
    pub(super) facts: u64,
}

/// What SWIM knows of a member, and whether it left on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) generation: u64,
    pub(super) incarnation: Incarnation,
    pub(super) state: State,
    pub(super) has_left: bool,
}

impl Known {
    /// Whether SWIM's order of precedence (section 4.2 of its paper) puts this above `other`.
    fn outranks(&self, other: &Self) -> bool {
        let rank = |known: &Self| {
            let is_down = known.state == State::Down;
            let order = if is_down { 0 } else { known.incarnation };
            (known.generation, is_down, known.has_left, order, known.state == State::Suspect)
        };
        rank(self) > rank(other)
    }
}

impl Entry {
    /// This knowledge as SWIM takes it.
    pub(super) fn member(&self) -> Option<Member<Life>> {
        let known = self.known?;
        let life = Life { address: self.address, generation: known.generation };
        Some(Member::new(life, known.incarnation, known.state))
    }

    /// Whether this holds something about the member's life that `other` lacks.
    pub(super) fn is_news_to(&self, other: Option<&Self>) -> bool {
        match (self.known, other.and_then(|other| other.known)) {
            (Some(mine), Some(theirs)) => mine.outranks(&theirs),
            (mine, _) => mine.is_some(),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Do you know what I know?
    Compare {
        /// Over all that I know, by [`crate::gossip::fingerprint`].
        fingerprint: [u8; 16],
    },
    /// Take this, and give me that.
    Reconcile {
        /// What the other side's digest lacked.
        entries: Vec<Entry>,
        /// Facts it lacked.
        facts: Vec<Parcel>,
        /// Whose facts I lack.
        wanted: Vec<Ipv6Addr>,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Response {
    /// We know the same.
    Same,
    /// We do not; this is what I know.
    Digest(Vec<Entry>),
    /// The facts that were wanted.
    Facts(Vec<Parcel>),
}

/// A message as it travels. Postcard writes all of these types into memory without fail.
pub(super) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_extend(message, vec![VERSION]).unwrap_or_default()
}

/// Reads what `node` sent.
pub(super) fn decode<T: DeserializeOwned>(node: NodeId, bytes: &[u8]) -> Result<T, GossipError> {
    if bytes.len() > EXCHANGE_SIZE_MAX {
        let limit = EXCHANGE_SIZE_MAX;
        return Err(GossipError::TooLarge { node, size: bytes.len(), limit });
    }
    match bytes.split_first() {
        Some((&VERSION, body)) => {
            postcard::from_bytes(body).map_err(|_| GossipError::Malformed(node))
        }
        Some((&version, _)) => Err(GossipError::Version { node, version }),
        None => Err(GossipError::Malformed(node)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(generation: u64, state: State) -> Entry {
        let known = Known { generation, incarnation: 0, state, has_left: false };
        Entry { address: Ipv6Addr::LOCALHOST, known: Some(known), facts: 3 }
    }

    #[test]
    fn a_later_life_outranks_a_death_and_a_death_outranks_the_life_it_ended() {
        let alive = entry(1, State::Alive);
        let down = entry(1, State::Down);
        let reborn = entry(2, State::Alive);
        assert!(down.is_news_to(Some(&alive)) && !alive.is_news_to(Some(&down)));
        assert!(reborn.is_news_to(Some(&down)) && !down.is_news_to(Some(&reborn)));
        assert!(alive.is_news_to(None) && !alive.is_news_to(Some(&alive)));
    }
}
