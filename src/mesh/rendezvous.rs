//! The message by which two machines that reach each other through others agree to dial each
//! other at once: what each knows of its own addresses, signed.

use std::net::Ipv6Addr;
use std::net::SocketAddr;

use crate::mesh::wire::Reader;
use crate::mesh::wire::write_endpoint;
use crate::model::cluster::ClusterId;
use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::model::identity::Signature;
use crate::model::identity::SigningDomain;
use crate::model::nat::NatKind;

const VERSION: u8 = 1;
/// Most addresses in one message: so many datagrams, at most, go out at once because of it.
pub const CANDIDATES_MAX: usize = 16;

/// What a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Dial me, I am about to dial you, and tell me where you are.
    Call,
    /// Here I am; I am dialling.
    Answer,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendezvous {
    /// What it asks for.
    pub purpose: Purpose,
    /// What stands between its sender and the others.
    pub kind: NatKind,
    /// Grows strictly from message to message of one sender; a copy is refused.
    pub timestamp: u64,
    /// Where its sender may be reached.
    pub candidates: Vec<SocketAddr>,
}

impl Rendezvous {
    /// The message's bytes, signed by `key` for `destination` alone.
    #[must_use]
    pub fn write(&self, key: &SecretKey, cluster: ClusterId, destination: Ipv6Addr) -> Vec<u8> {
        let purpose = match self.purpose {
            Purpose::Call => 1,
            Purpose::Answer => 2,
        };
        let mut bytes = vec![VERSION, purpose, self.kind.to_byte()];
        bytes.extend_from_slice(&self.timestamp.to_be_bytes());
        let candidates = &self.candidates[..self.candidates.len().min(CANDIDATES_MAX)];
        bytes.push(u8::try_from(candidates.len()).unwrap_or_default());
        for candidate in candidates {
            write_endpoint(&mut bytes, *candidate);
        }
        let signed = signed(cluster, key.node_id().address(), destination, &bytes);
        let signature = key.sign(SigningDomain::Rendezvous, &signed);
        bytes.extend_from_slice(&signature.to_bytes());
        bytes
    }

    /// Reads what `source` is said to have sent to `destination`; none unless `source` signed it
    /// for just that. Nothing of it is looked at before.
    #[must_use]
    pub fn read(
        bytes: &[u8],
        cluster: ClusterId,
        source: NodeId,
        destination: Ipv6Addr,
    ) -> Option<Self> {
        let (body, signature) = bytes.split_last_chunk::<{ Signature::LENGTH }>()?;
        let signed = signed(cluster, source.address(), destination, body);
        let signature = Signature::from_bytes(*signature);
        if !source.verify(SigningDomain::Rendezvous, &signed, &signature) {
            return None;
        }
        let mut reader = Reader::new(body);
        if reader.u8()? != VERSION {
            return None;
        }
        let purpose = match reader.u8()? {
            1 => Purpose::Call,
            2 => Purpose::Answer,
            _ => return None,
        };
        let kind = NatKind::from_byte(reader.u8()?);
        let timestamp = reader.u64()?;
        let count = usize::from(reader.u8()?);
        let candidates: Option<Vec<_>> = (0..count).map(|_| reader.endpoint()).collect();
        let mut candidates = candidates?;
        candidates.truncate(CANDIDATES_MAX);
        Some(Self { purpose, kind, timestamp, candidates })
    }
}

/// What is signed: the two ends as well, so that a message means nothing between others.
fn signed(cluster: ClusterId, source: Ipv6Addr, destination: Ipv6Addr, body: &[u8]) -> Vec<u8> {
    [cluster.as_bytes().as_slice(), &source.octets(), &destination.octets(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::fixture::cluster;
    use crate::mesh::fixture::key;

    fn message() -> Rendezvous {
        Rendezvous {
            purpose: Purpose::Call,
            kind: NatKind::Easy,
            timestamp: 7,
            candidates: vec!["192.0.2.1:4863".parse().unwrap(), "[2001:db8::1]:9".parse().unwrap()],
        }
    }

    #[test]
    fn only_its_sender_can_have_said_it_and_only_to_its_destination() {
        let [from, to, other] = [0, 1, 2].map(|index| key(index).node_id());
        let bytes = message().write(&key(0), cluster(0), to.address());
        let read = |bytes: &[u8], of, source, to: NodeId| {
            Rendezvous::read(bytes, cluster(of), source, to.address())
        };
        assert_eq!(read(&bytes, 0, from, to), Some(message()));
        assert_eq!(read(&bytes, 1, from, to), None);
        assert_eq!(read(&bytes, 0, other, to), None);
        assert_eq!(read(&bytes, 0, from, other), None);
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert_eq!(read(&changed, 0, from, to), None, "byte {place}");
            assert_eq!(read(&bytes[..place], 0, from, to), None, "cut at {place}");
        }
    }

    /// The bytes of the page on the wire, whatever this build's reader and writer agree on.
    #[test]
    fn the_form_is_the_documented_one() {
        let to = key(1).node_id().address();
        let bytes = message().write(&key(0), cluster(0), to);
        let head = [1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 7, 2];
        assert_eq!(bytes[..12], head);
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1, 0x12, 0xff];
        assert_eq!(bytes[12..30], mapped);
        assert_eq!(bytes.len(), 12 + 2 * 18 + 64);
    }

    #[test]
    fn what_a_member_signs_may_still_be_nonsense() {
        let to = key(1).node_id();
        let body = [1u8, 1, 2, 0, 0, 0, 0, 0, 0, 0, 7, 200];
        let signed = signed(cluster(0), key(0).node_id().address(), to.address(), &body);
        let signature = key(0).sign(SigningDomain::Rendezvous, &signed).to_bytes();
        let bytes = [&body[..], &signature].concat();
        let from = key(0).node_id();
        assert_eq!(Rendezvous::read(&bytes, cluster(0), from, to.address()), None);
    }
}
