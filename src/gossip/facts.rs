//! Everybody's facts: the latest of each, checked before they are kept.

use std::net::Ipv6Addr;

use serde::Deserialize;
use serde::Serialize;

use crate::gossip::directory::Directory;
use crate::model::facts::FACTS_SIZE_MAX;
use crate::model::facts::Facts;
use crate::model::facts::SignedFacts;

/// Largest encoded [`SignedFacts`] in bytes: the facts, the key, the signature and lengths.
const BLOB_SIZE_MAX: usize = FACTS_SIZE_MAX + 256;

/// Signed facts as they travel. The address and version before the signed bytes only save reading
/// what is known already; they are checked against those bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parcel {
    pub(super) address: Ipv6Addr,
    pub(super) version: u64,
    pub(super) blob: Vec<u8>,
}

#[derive(Debug)]
struct Held {
    facts: Facts,
    blob: Vec<u8>,
}

/// The latest facts by their owner's address.
#[derive(Debug, Default)]
pub(super) struct FactsStore {
    held: Directory<Ipv6Addr, Held>,
}

impl FactsStore {
    pub(super) fn get(&self, address: Ipv6Addr) -> Option<&Facts> {
        self.held.get(address).map(|held| &held.facts)
    }

    /// The version that is held; 0 for none.
    pub(super) fn version(&self, address: Ipv6Addr) -> u64 {
        self.held.get(address).map_or(0, |held| held.facts.version)
    }

    pub(super) fn parcel(&self, address: Ipv6Addr) -> Option<Parcel> {
        let held = self.held.get(address)?;
        Some(Parcel { address, version: held.facts.version, blob: held.blob.clone() })
    }

    pub(super) fn remove(&mut self, address: Ipv6Addr) {
        self.held.remove(address);
    }

    /// Keeps what `parcel` holds if it is later than what is held and signed by its owner;
    /// whether it was kept.
    pub(super) fn accept(&mut self, parcel: &Parcel) -> bool {
        if parcel.version <= self.version(parcel.address) || parcel.blob.len() > BLOB_SIZE_MAX {
            return false;
        }
        let Ok(signed) = postcard::from_bytes::<SignedFacts>(&parcel.blob) else { return false };
        if signed.version() != parcel.version || signed.node().address() != parcel.address {
            return false;
        }
        let Ok(facts) = signed.open() else { return false };
        self.held.insert(parcel.address, Held { facts, blob: parcel.blob.clone() });
        true
    }
}

impl Parcel {
    /// Packs facts; none when they cannot be written.
    pub(super) fn pack(signed: &SignedFacts) -> Option<Self> {
        let blob = postcard::to_allocvec(signed).ok()?;
        Some(Self { address: signed.node().address(), version: signed.version(), blob })
    }
}
