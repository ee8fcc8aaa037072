//! The Noise IK handshake of a link: one message each way, and both sides hold two keys.

use std::net::SocketAddr;
use std::sync::Mutex;

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use ring::hmac;
use sha2::Digest;
use sha2::Sha256;
use snow::Builder;
use snow::HandshakeState;
use snow::params::CipherChoice;
use snow::params::DHChoice;
use snow::params::HashChoice;
use snow::params::NoiseParams;
use snow::resolvers::CryptoResolver;
use snow::resolvers::DefaultResolver;
use snow::types::Cipher;
use snow::types::Dh;
use snow::types::Hash;
use snow::types::Random;
use zeroize::Zeroizing;

use crate::mesh::plane::keys::Keys;
use crate::mesh::plane::suite::Suite;
use crate::mesh::plane::suite::Suites;
use crate::mesh::wire::MAC_LENGTH;
use crate::mesh::wire::Reader;
use crate::mesh::wire::write_endpoint;
use crate::model::cluster::ClusterId;
use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;

const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";

/// The prologue of handshakes between neighbours.
pub const LINK_PROLOGUE: &[u8] = b"raptor/1 link";
/// The prologue of handshakes between two ends.
pub const SESSION_PROLOGUE: &[u8] = b"raptor/1 session";

/// What a handshake is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A link between two members.
    Link = 1,
    /// A request for admission with a ticket's key.
    Knock = 2,
    /// A session between two ends.
    Session = 3,
}

/// What the first message says once it is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// What for.
    pub purpose: Purpose,
    /// The initiator's Ed25519 key; its X25519 form must be the static key of the handshake.
    pub id: [u8; 32],
    /// Strictly growing per initiator, in milliseconds since 1970 where its clock is right.
    pub timestamp: u64,
    /// Drawn at every start of the initiator's process.
    pub boot: u64,
    /// The ciphers the initiator offers for carried datagrams.
    pub suites: Suites,
}

/// What the second message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// Drawn at every start of the responder's process.
    pub boot: u64,
    /// The cipher the responder chose.
    pub suite: Suite,
    /// The address at which the responder sees the initiator; not between ends.
    pub observed: Option<SocketAddr>,
}

/// One side's secret key with what never changes about its handshakes.
pub struct Handshaker {
    secret: Zeroizing<[u8; 32]>,
    id: NodeId,
    prologue: Vec<u8>,
    params: NoiseParams,
    suites: Suites,
}

/// The initiator's half of a handshake that waits for its answer.
pub struct Initiated {
    state: Box<HandshakeState>,
    offered: Suites,
}

/// A first message that was authenticated and not yet answered.
pub struct Accepted {
    state: Box<HandshakeState>,
    /// What it said.
    pub hello: Hello,
    /// The static key it proved.
    pub remote_static: [u8; 32],
    suite: Suite,
}

impl Handshaker {
    /// For the holder of `key` in `cluster`, whose machine has `suites`. None when the crypto
    /// library knows no such pattern.
    #[must_use]
    pub fn new(
        key: &SecretKey,
        cluster: ClusterId,
        prologue: &[u8],
        suites: Suites,
    ) -> Option<Self> {
        Some(Self {
            secret: key.to_x25519(),
            id: key.node_id(),
            prologue: [prologue, cluster.as_bytes()].concat(),
            params: PATTERN.parse().ok()?,
            suites,
        })
    }

    /// Writes the first message to the holder of `remote`, its X25519 key.
    pub fn initiate(
        &self,
        remote: &[u8; 32],
        purpose: Purpose,
        timestamp: u64,
        boot: u64,
        seed: [u8; 32],
    ) -> Option<(Initiated, Vec<u8>)> {
        let mut state =
            self.builder(seed)?.remote_public_key(remote).ok()?.build_initiator().ok()?;
        let mut payload = vec![purpose as u8];
        payload.extend_from_slice(self.id.as_bytes());
        payload.extend_from_slice(&timestamp.to_be_bytes());
        payload.extend_from_slice(&boot.to_be_bytes());
        payload.push(self.suites.to_byte());
        let message = write(&mut state, &payload)?;
        Some((Initiated { state: Box::new(state), offered: self.suites }, message))
    }

    /// Authenticates a first message. Whether its sender may speak is the caller's to say.
    #[must_use]
    pub fn accept(&self, message: &[u8], seed: [u8; 32]) -> Option<Accepted> {
        let mut state = self.builder(seed)?.build_responder().ok()?;
        let payload = read(&mut state, message)?;
        let remote_static = state.get_remote_static()?.try_into().ok()?;
        let mut reader = Reader::new(&payload);
        let purpose = match reader.u8()? {
            1 => Purpose::Link,
            2 => Purpose::Knock,
            3 => Purpose::Session,
            _ => return None,
        };
        let hello = Hello {
            purpose,
            id: reader.array()?,
            timestamp: reader.u64()?,
            boot: reader.u64()?,
            suites: Suites::from_byte(reader.u8()?),
        };
        let suite = self.suites.choose(hello.suites)?;
        Some(Accepted { state: Box::new(state), hello, remote_static, suite })
    }

    fn builder(&self, seed: [u8; 32]) -> Option<Builder<'_>> {
        Builder::with_resolver(self.params.clone(), Box::new(Seeded(Mutex::new(Some(seed)))))
            .prologue(&self.prologue)
            .ok()?
            .local_private_key(self.secret.as_slice())
            .ok()
    }
}

impl Accepted {
    /// Writes the second message and takes the keys. `boot` is the responder's, `observed` where
    /// it sees the initiator.
    #[must_use]
    pub fn answer(mut self, boot: u64, observed: Option<SocketAddr>) -> Option<(Keys, Vec<u8>)> {
        let mut payload = boot.to_be_bytes().to_vec();
        payload.push(self.suite as u8);
        if let Some(observed) = observed {
            write_endpoint(&mut payload, observed);
        }
        let message = write(&mut self.state, &payload)?;
        let (first, second) = self.state.dangerously_get_raw_split();
        let (sending, receiving) = (Zeroizing::new(second), Zeroizing::new(first));
        Some((Keys { sending, receiving, suite: self.suite }, message))
    }
}

impl Initiated {
    /// Reads the second message. A forged one leaves the handshake as it was; one that names a
    /// cipher that was not offered is refused.
    pub fn finish(&mut self, message: &[u8]) -> Option<(Keys, Welcome)> {
        let payload = read(&mut self.state, message)?;
        let mut reader = Reader::new(&payload);
        let boot = reader.u64()?;
        let suite = Suite::from_byte(reader.u8()?).filter(|suite| self.offered.contains(*suite))?;
        let welcome = Welcome { boot, suite, observed: reader.endpoint() };
        let (first, second) = self.state.dangerously_get_raw_split();
        let (sending, receiving) = (Zeroizing::new(first), Zeroizing::new(second));
        Some((Keys { sending, receiving, suite }, welcome))
    }
}

fn write(state: &mut HandshakeState, payload: &[u8]) -> Option<Vec<u8>> {
    let mut message = vec![0u8; payload.len() + 128];
    let length = state.write_message(payload, &mut message).ok()?;
    message.truncate(length);
    Some(message)
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Option<Vec<u8>> {
    let mut payload = vec![0u8; message.len()];
    let length = state.read_message(message, &mut payload).ok()?;
    payload.truncate(length);
    Some(payload)
}

/// The key of the mac over initiations to `responder`: SHA-256("raptor/1 mac" 0 cluster id
/// key). Who does not know cluster and key, a scanner, costs one hash and gets no answer.
#[must_use]
pub fn mac_key(responder: &NodeId, cluster: ClusterId) -> hmac::Key {
    let mut hash = Sha256::new();
    hash.update(b"raptor/1 mac\0");
    hash.update(cluster.as_bytes());
    hash.update(responder.as_bytes());
    hmac::Key::new(hmac::HMAC_SHA256, &hash.finalize())
}

/// HMAC-SHA-256, cut to 16 bytes.
#[must_use]
pub fn mac(key: &hmac::Key, covered: &[u8]) -> [u8; MAC_LENGTH] {
    let tag = hmac::sign(key, covered);
    let mut mac = [0u8; MAC_LENGTH];
    mac.copy_from_slice(&tag.as_ref()[..MAC_LENGTH]);
    mac
}

/// Noise's primitives, with the ephemeral keys drawn from a seed given as an argument.
struct Seeded(Mutex<Option<[u8; 32]>>);

struct SeededRandom(StdRng);

impl Random for SeededRandom {
    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(destination);
        Ok(())
    }
}

impl CryptoResolver for Seeded {
    /// Once: a second generator from one seed would repeat the first one's keys.
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        let seed = self.0.lock().ok()?.take()?;
        Some(Box::new(SeededRandom(StdRng::from_seed(seed))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::fixture::cluster;
    use crate::mesh::fixture::key;

    fn side(index: usize, cluster_number: u64) -> Handshaker {
        handshaker(index, cluster_number, Suites::ALL)
    }

    fn handshaker(index: usize, cluster_number: u64, suites: Suites) -> Handshaker {
        Handshaker::new(&key(index), cluster(cluster_number), LINK_PROLOGUE, suites).unwrap()
    }

    #[test]
    fn both_sides_learn_who_the_other_is_and_share_keys() {
        let (one, two) = (side(0, 0), side(1, 0));
        let remote = key(1).node_id().to_x25519();
        let (mut initiated, first) = one.initiate(&remote, Purpose::Link, 5, 6, [1; 32]).unwrap();
        let accepted = two.accept(&first, [2; 32]).unwrap();
        assert_eq!(accepted.remote_static, key(0).node_id().to_x25519());
        assert_eq!(accepted.hello.id, *key(0).node_id().as_bytes());
        assert_eq!((accepted.hello.timestamp, accepted.hello.boot), (5, 6));
        let observed = Some("[2001:db8::1]:7".parse().unwrap());
        let (keys_two, second) = accepted.answer(8, observed).unwrap();
        let mut forged = second.clone();
        forged[40] ^= 1;
        assert!(initiated.finish(&forged).is_none());
        let (keys_one, welcome) = initiated.finish(&second).unwrap();
        assert_eq!(welcome, Welcome { boot: 8, suite: Suite::Aes256Gcm, observed });
        assert_eq!(*keys_one.sending, *keys_two.receiving);
        assert_eq!(*keys_one.receiving, *keys_two.sending);
        assert_ne!(*keys_one.sending, *keys_one.receiving);
    }

    #[test]
    fn another_cluster_or_another_receiver_reads_nothing() {
        let remote = key(1).node_id().to_x25519();
        let (_, first) = side(0, 0).initiate(&remote, Purpose::Link, 5, 6, [1; 32]).unwrap();
        assert!(side(1, 1).accept(&first, [2; 32]).is_none());
        assert!(side(2, 0).accept(&first, [2; 32]).is_none());
    }

    /// A downgrade would be a changed offer or a changed choice: no bit of either can be changed.
    #[test]
    fn no_bit_of_a_handshake_can_be_changed() {
        let (one, two) = (side(0, 0), side(1, 0));
        let remote = key(1).node_id().to_x25519();
        let (mut initiated, first) = one.initiate(&remote, Purpose::Link, 5, 6, [1; 32]).unwrap();
        for place in 0..first.len() {
            let mut bent = first.clone();
            bent[place] ^= 1 << (place % 8);
            assert!(two.accept(&bent, [2; 32]).is_none(), "byte {place} of the first message");
        }
        let (_, second) = two.accept(&first, [2; 32]).unwrap().answer(8, None).unwrap();
        for place in 0..second.len() {
            let mut bent = second.clone();
            bent[place] ^= 1 << (place % 8);
            assert!(initiated.finish(&bent).is_none(), "byte {place} of the second message");
        }
        assert_eq!(initiated.finish(&second).unwrap().1.suite, Suite::Aes256Gcm);
    }

    #[test]
    fn a_suite_that_was_not_offered_is_refused() {
        let portable = handshaker(0, 0, Suites::PORTABLE);
        let remote = key(1).node_id().to_x25519();
        let begun = portable.initiate(&remote, Purpose::Link, 5, 6, [1; 32]);
        let (mut initiated, first) = begun.unwrap();
        let mut accepted = side(1, 0).accept(&first, [2; 32]).unwrap();
        assert_eq!(accepted.suite, Suite::ChaCha20Poly1305);
        accepted.suite = Suite::Aes256Gcm;
        let (_, second) = accepted.answer(8, None).unwrap();
        assert!(initiated.finish(&second).is_none());
        let none = handshaker(0, 0, Suites::from_byte(0));
        let (_, first) = none.initiate(&remote, Purpose::Link, 5, 6, [1; 32]).unwrap();
        assert!(side(1, 0).accept(&first, [2; 32]).is_none());
    }
}
