//! What each member says about its links: signed, numbered, kept once per known member.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use crate::mesh::metric::Metric;
use crate::mesh::wire::Reader;
use crate::model::cluster::ClusterId;
use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::model::identity::Signature;
use crate::model::identity::SigningDomain;

/// Most neighbours one advertisement names.
pub const NEIGHBOURS_MAX: usize = 64;

/// Highest sequence that is looked at. A key that has signed it cannot say anything new: it is spent.
pub const SEQUENCE_MAX: u64 = u64::MAX - 1;

/// Version of the advertisement's form.
const VERSION: u8 = 1;

/// One member's signed list of its links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    /// The member that signed it.
    pub origin: Ipv6Addr,
    /// Grows with every new list of one origin.
    pub sequence: u64,
    /// Neighbours by address, and what the link to each is like.
    pub neighbours: BTreeMap<Ipv6Addr, Metric>,
    /// The whole signed form, passed on as it came.
    pub bytes: Vec<u8>,
}

impl Advertisement {
    /// Signs a list of links; neighbours beyond [`NEIGHBOURS_MAX`] are left out.
    #[must_use]
    pub fn sign(
        key: &SecretKey,
        cluster: ClusterId,
        sequence: u64,
        neighbours: &BTreeMap<Ipv6Addr, Metric>,
    ) -> Self {
        let origin = key.node_id().address();
        let neighbours: BTreeMap<_, _> =
            neighbours.iter().take(NEIGHBOURS_MAX).map(|(peer, link)| (*peer, *link)).collect();
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&origin.octets());
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.push(u8::try_from(neighbours.len()).unwrap_or(0));
        for (peer, link) in &neighbours {
            bytes.extend_from_slice(&peer.octets());
            bytes.extend_from_slice(&link.to_bits().to_be_bytes());
        }
        let signature = key.sign(SigningDomain::LinkState, &signed_form(cluster, &bytes));
        bytes.extend_from_slice(&signature.to_bytes());
        Self { origin, sequence, neighbours, bytes }
    }

    /// Reads origin and sequence only: enough to know whether the rest is worth checking.
    #[must_use]
    pub fn peek(bytes: &[u8]) -> Option<(Ipv6Addr, u64)> {
        let mut reader = Reader::new(bytes);
        (reader.u8()? == VERSION).then_some(())?;
        let (origin, sequence) = (reader.address()?, reader.u64()?);
        (sequence <= SEQUENCE_MAX).then_some((origin, sequence))
    }

    /// Checks the signature of `origin` and reads the list. None for anything unsound.
    #[must_use]
    pub fn open(bytes: &[u8], origin: NodeId, cluster: ClusterId) -> Option<Self> {
        let (body, signature) = bytes.split_last_chunk::<{ Signature::LENGTH }>()?;
        let mut reader = Reader::new(body);
        (reader.u8()? == VERSION && reader.address()? == origin.address()).then_some(())?;
        let signature = Signature::from_bytes(*signature);
        origin
            .verify(SigningDomain::LinkState, &signed_form(cluster, body), &signature)
            .then_some(())?;
        let sequence = reader.u64()?;
        let count = usize::from(reader.u8()?);
        (count <= NEIGHBOURS_MAX).then_some(())?;
        let mut neighbours = BTreeMap::new();
        for _ in 0..count {
            let (peer, link) = (reader.address()?, Metric::from_bits(reader.u32()?));
            neighbours.insert(peer, link);
        }
        (reader.rest().is_empty() && neighbours.len() == count).then(|| Self {
            origin: origin.address(),
            sequence,
            neighbours,
            bytes: bytes.to_vec(),
        })
    }
}

/// What a newer advertisement says that the one before did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing.
    None,
    /// There is a new link, or one costs a little more or less.
    Better,
    /// A link is gone, or costs over twice as much.
    Worse,
}

impl Advertisement {
    fn change_to(&self, new: &Self) -> Change {
        if self.neighbours == new.neighbours {
            return Change::None;
        }
        let worse = self.neighbours.iter().any(|(peer, before)| {
            new.neighbours.get(peer).is_none_or(|link| link.cost_us() / 2 > before.cost_us())
        });
        if worse { Change::Worse } else { Change::Better }
    }
}

fn signed_form(cluster: ClusterId, body: &[u8]) -> Vec<u8> {
    [cluster.as_bytes().as_slice(), body].concat()
}

/// The newest advertisement of every member that has one.
#[derive(Debug, Default)]
pub struct LinkStates {
    entries: BTreeMap<Ipv6Addr, Advertisement>,
}

impl LinkStates {
    /// The newest sequence of `origin`.
    #[must_use]
    pub fn sequence(&self, origin: Ipv6Addr) -> Option<u64> {
        self.entries.get(&origin).map(|entry| entry.sequence)
    }

    /// The newest advertisement of `origin`.
    #[must_use]
    pub fn get(&self, origin: Ipv6Addr) -> Option<&Advertisement> {
        self.entries.get(&origin)
    }

    /// Keeps an advertisement. Returns what it changes.
    pub fn insert(&mut self, advertisement: Advertisement) -> Change {
        let change = match self.entries.get(&advertisement.origin) {
            None => Change::Better,
            Some(before) => before.change_to(&advertisement),
        };
        self.entries.insert(advertisement.origin, advertisement);
        change
    }

    /// Forgets a member. Returns whether there was anything.
    pub fn remove(&mut self, origin: Ipv6Addr) -> bool {
        self.entries.remove(&origin).is_some()
    }

    /// All, by origin.
    pub fn iter(&self) -> impl Iterator<Item = &Advertisement> {
        self.entries.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::fixture::cluster;
    use crate::mesh::fixture::key;

    #[test]
    fn only_what_the_origin_signed_for_this_cluster_is_read() {
        let links = BTreeMap::from([(key(1).node_id().address(), Metric::new(1500, 0))]);
        let advertisement = Advertisement::sign(&key(0), cluster(0), 7, &links);
        let bytes = &advertisement.bytes;
        let origin = key(0).node_id();
        assert_eq!(Advertisement::peek(bytes), Some((origin.address(), 7)));
        assert_eq!(Advertisement::open(bytes, origin, cluster(0)), Some(advertisement.clone()));
        assert_eq!(Advertisement::open(bytes, origin, cluster(1)), None);
        assert_eq!(Advertisement::open(bytes, key(1).node_id(), cluster(0)), None);
        for index in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[index] ^= 1;
            assert_eq!(Advertisement::open(&bent, origin, cluster(0)), None, "byte {index}");
            assert_eq!(Advertisement::open(&bytes[..index], origin, cluster(0)), None);
        }
    }

    #[test]
    fn more_neighbours_than_fit_are_left_out() {
        let links = (0..100u128).map(|peer| (Ipv6Addr::from(peer), Metric::new(1, 0))).collect();
        let advertisement = Advertisement::sign(&key(0), cluster(0), 1, &links);
        assert_eq!(advertisement.neighbours.len(), NEIGHBOURS_MAX);
        assert!(advertisement.bytes.len() + 3 <= crate::mesh::wire::FRAME_LENGTH_MAX);
        assert!(Advertisement::open(&advertisement.bytes, key(0).node_id(), cluster(0)).is_some());
    }
}
