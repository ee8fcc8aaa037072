//! What a flood of first messages costs: a proof of the sender's address before curve arithmetic.
//!
//! As in `WireGuard` (section 5.4.7 of its paper): under load an initiation is answered with a
//! cookie, shorter than itself and sealed for who sent it; only one that comes back with a mac keyed
//! by the cookie is read. A sender that lies about its address never sees its cookie.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use ring::aead;
use ring::hmac;
use sha2::Digest;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::mesh::bucket::Bucket;
use crate::mesh::bucket::Rate;
use crate::mesh::handshake::mac;
use crate::mesh::plane::suite::nonce;
use crate::mesh::wire::COOKIE_LENGTH;
use crate::mesh::wire::MAC_LENGTH;
use crate::mesh::wire::SEALED_COOKIE_LENGTH;
use crate::mesh::wire::write_endpoint;
use crate::model::cluster::ClusterId;
use crate::model::identity::NodeId;
use crate::model::time::Moment;

/// Initiations read without a cookie: two scalar multiplications each, two more when answered.
const UNPROVEN: Rate = Rate { burst: 128, per_second: 64 };
/// Those read with one.
const PROVEN: Rate = Rate { burst: 512, per_second: 256 };
/// Those read with one from one address, or from one IPv6 network of 64 bits.
const FROM_SOURCE: Rate = Rate { burst: 16, per_second: 8 };
/// Addresses remembered.
const SOURCES_MAX: usize = 1_024;
/// The secret behind cookies is drawn anew after this long; the one before it still counts.
const SECRET_LIFETIME: Duration = Duration::from_secs(120);

/// A cookie: it proves that its holder receives at an address.
pub type Cookie = [u8; COOKIE_LENGTH];

/// What to do with an initiation whose first mac is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Read it.
    Read,
    /// Answer with this cookie.
    Challenge(Cookie),
    /// Drop it.
    Drop,
}

/// The responder's side: its secrets, and how much it may still compute.
pub struct Doorkeeper {
    secrets: [Zeroizing<[u8; 32]>; 2],
    changed_at: Moment,
    unproven: Bucket,
    proven: Bucket,
    sources: BTreeMap<Ipv6Addr, Bucket>,
}

impl Doorkeeper {
    /// With secrets from `random`.
    #[must_use]
    pub fn new(random: &mut StdRng, now: Moment) -> Self {
        Self {
            secrets: [draw(random), draw(random)],
            changed_at: now,
            unproven: Bucket::new(UNPROVEN, now),
            proven: Bucket::new(PROVEN, now),
            sources: BTreeMap::new(),
        }
    }

    /// Decides about an initiation from `source`; `proof` is its second mac, over `covered`.
    pub fn admit(
        &mut self,
        now: Moment,
        random: &mut StdRng,
        source: SocketAddr,
        covered: &[u8],
        proof: &[u8],
    ) -> Admission {
        self.change_secret(now, random);
        let is_proven = self
            .secrets
            .iter()
            .any(|secret| proof_of(&cookie(secret, source), covered).as_slice() == proof);
        if is_proven {
            let may = self.take_from_source(now, source) && self.proven.take(now);
            return if may { Admission::Read } else { Admission::Drop };
        }
        if self.unproven.take(now) {
            return Admission::Read;
        }
        Admission::Challenge(cookie(&self.secrets[0], source))
    }

    fn take_from_source(&mut self, now: Moment, source: SocketAddr) -> bool {
        let network = network(source.ip());
        if !self.sources.contains_key(&network) && self.sources.len() >= SOURCES_MAX {
            self.sources.retain(|_, bucket| !bucket.is_full(now));
            if self.sources.len() >= SOURCES_MAX {
                return false;
            }
        }
        let bucket = self.sources.entry(network).or_insert_with(|| Bucket::new(FROM_SOURCE, now));
        bucket.take(now)
    }

    fn change_secret(&mut self, now: Moment, random: &mut StdRng) {
        let age = now.since(self.changed_at);
        if age < SECRET_LIFETIME {
            return;
        }
        let before = std::mem::replace(&mut self.secrets[0], draw(random));
        self.secrets[1] = if age < SECRET_LIFETIME * 2 { before } else { draw(random) };
        self.changed_at = now;
    }
}

fn draw(random: &mut StdRng) -> Zeroizing<[u8; 32]> {
    let mut secret = Zeroizing::new([0u8; 32]);
    random.fill_bytes(secret.as_mut_slice());
    secret
}

/// The cookie of an address and port: HMAC-SHA-256 under the secret, cut.
fn cookie(secret: &[u8; 32], source: SocketAddr) -> Cookie {
    let mut bytes = Vec::with_capacity(18);
    write_endpoint(&mut bytes, source);
    mac(&hmac::Key::new(hmac::HMAC_SHA256, secret), &bytes)
}

fn network(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64),
    }
}

/// The second mac of an initiation: HMAC-SHA-256 under the cookie over all before it, cut.
#[must_use]
pub fn proof_of(cookie: &Cookie, covered: &[u8]) -> [u8; MAC_LENGTH] {
    mac(&hmac::Key::new(hmac::HMAC_SHA256, cookie), covered)
}

/// Seals a cookie of `responder` for who sent the initiation with this first mac. `salt` is never
/// used twice.
#[must_use]
pub fn seal(
    responder: &NodeId,
    cluster: ClusterId,
    salt: &[u8; 16],
    first_mac: &[u8],
    cookie: Cookie,
) -> Option<[u8; SEALED_COOKIE_LENGTH]> {
    let mut sealed = [0u8; SEALED_COOKIE_LENGTH];
    let (text, tag) = sealed.split_at_mut(COOKIE_LENGTH);
    text.copy_from_slice(&cookie);
    let key = key(responder, cluster, salt, first_mac)?;
    let made = key.seal_in_place_separate_tag(nonce(0), aead::Aad::empty(), text).ok()?;
    tag.copy_from_slice(made.as_ref());
    Some(sealed)
}

/// Opens what [`seal`] made.
#[must_use]
pub fn open(
    responder: &NodeId,
    cluster: ClusterId,
    salt: &[u8; 16],
    first_mac: &[u8],
    sealed: &[u8; SEALED_COOKIE_LENGTH],
) -> Option<Cookie> {
    let mut sealed = *sealed;
    let key = key(responder, cluster, salt, first_mac)?;
    let opened = key.open_in_place(nonce(0), aead::Aad::empty(), &mut sealed).ok()?;
    Cookie::try_from(&*opened).ok()
}

/// One key for one cookie: HMAC-SHA-256 over salt and first mac, under a hash of cluster and
/// responder. Strangers who know neither cannot make a member send anything.
fn key(
    responder: &NodeId,
    cluster: ClusterId,
    salt: &[u8; 16],
    first_mac: &[u8],
) -> Option<aead::LessSafeKey> {
    let mut hash = Sha256::new();
    hash.update(b"raptor/1 cookie\0");
    hash.update(cluster.as_bytes());
    hash.update(responder.as_bytes());
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &hash.finalize()));
    context.update(salt);
    context.update(first_mac);
    let bytes = context.sign();
    let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, bytes.as_ref()).ok()?;
    Some(aead::LessSafeKey::new(key))
}

#[cfg(test)]
#[path = "cookie_tests.rs"]
mod tests;
