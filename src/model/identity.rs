//! Who a machine is: one Ed25519 key, and everything that follows from it.
//!
//! The same key signs what a machine writes, proves it to its neighbours (as the X25519 key that
//! corresponds to it) and gives it its address in the mesh.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use curve25519_dalek::edwards::CompressedEdwardsY;
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

/// First byte of every mesh address, as in cjdns: the private `fc00::/8`.
const ADDRESS_PREFIX: u8 = 0xfc;

/// A machine's secret Ed25519 key. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Draws keys from `random` until one has an address that starts with `fc` (256 draws on
    /// average), so that the address alone proves the key.
    pub fn generate(mut random: impl FnMut(&mut [u8; 32])) -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        loop {
            random(&mut seed);
            let key = SigningKey::from_bytes(&seed);
            if derive_address(&key.verifying_key().to_bytes()).octets()[0] == ADDRESS_PREFIX {
                return Self(key);
            }
        }
    }

    /// Reads a key as [`SecretKey::to_seed`] wrote it.
    ///
    /// # Errors
    /// [`IdentityError::NotInMesh`] when the key's address is outside `fc00::/8`.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, IdentityError> {
        let key = SigningKey::from_bytes(seed);
        NodeId::from_bytes(&key.verifying_key().to_bytes())?;
        Ok(Self(key))
    }

    /// The 32 bytes from which the key can be made again.
    #[must_use]
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public name of this key.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` in `domain`, so that a signature made for one purpose serves no other.
    #[must_use]
    pub fn sign(&self, domain: SigningDomain, message: &[u8]) -> Signature {
        Signature(self.0.sign(&domain.frame(message)).to_bytes())
    }

    /// The X25519 secret that corresponds to this key (RFC 7748 scalar, clamped on use).
    #[must_use]
    pub fn to_x25519(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_scalar_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretKey({})", self.node_id().short())
    }
}

/// A machine's public Ed25519 key: its id everywhere. Written as 52 lower-case base32 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 32]);

impl NodeId {
    /// Checks and wraps a public key.
    ///
    /// # Errors
    /// [`IdentityError::NotAKey`] for bytes that are no canonical point of the curve or have small
    /// order, [`IdentityError::NotInMesh`] for a key whose address is outside `fc00::/8`.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, IdentityError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| IdentityError::NotAKey)?;
        if key.is_weak() {
            return Err(IdentityError::NotAKey);
        }
        if derive_address(bytes).octets()[0] != ADDRESS_PREFIX {
            return Err(IdentityError::NotInMesh);
        }
        Ok(Self(*bytes))
    }

    /// The key's 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The address this key proves: the first 16 bytes of SHA-512(SHA-512(key)), as in cjdns.
    #[must_use]
    pub fn address(&self) -> Ipv6Addr {
        derive_address(&self.0)
    }

    /// The first eight digits: enough to tell machines apart in a log line.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }

    /// The X25519 public key that corresponds to this key (the birational map of RFC 7748).
    #[must_use]
    pub fn to_x25519(&self) -> [u8; 32] {
        // `from_bytes` accepted the point, so it decompresses; the identity stands in for a case
        // that cannot occur and matches no key anybody holds.
        CompressedEdwardsY(self.0).decompress().unwrap_or_default().to_montgomery().to_bytes()
    }

    /// Whether `signature` over `message` in `domain` was made by this key.
    #[must_use]
    pub fn verify(&self, domain: SigningDomain, message: &[u8], signature: &Signature) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else {
            return false;
        };
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(&domain.frame(message), &signature).is_ok()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NodeId({})", self.short())
    }
}

impl FromStr for NodeId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE32_NOPAD
            .decode(text.to_ascii_uppercase().as_bytes())
            .map_err(|_| IdentityError::NotAKey)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| IdentityError::NotAKey)?;
        Self::from_bytes(&bytes)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(D::Error::custom)
        } else {
            let bytes = <[u8; 32]>::deserialize(deserializer)?;
            Self::from_bytes(&bytes).map_err(D::Error::custom)
        }
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Length in bytes.
    pub const LENGTH: usize = 64;

    /// Wraps the 64 bytes of a signature; nothing is checked before [`NodeId::verify`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The signature's 64 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 64] {
        self.0
    }

    /// The signature as 103 base32 digits.
    #[must_use]
    pub fn to_text(self) -> String {
        BASE32_NOPAD.encode(&self.0)
    }

    /// Reads what [`Signature::to_text`] wrote; nothing is checked before [`NodeId::verify`].
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        BASE32_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Signature(..)")
    }
}

/// What a signature is for. Each use signs under a prefix of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningDomain {
    /// An update of the replicated document.
    Document,
    /// A machine's facts about itself.
    Facts,
    /// A machine's list of the links it holds.
    LinkState,
    /// A message by which two machines agree to dial each other at once.
    Rendezvous,
    /// An invitation.
    Ticket,
    /// The proof of a machine that is taken over that it holds the key it names.
    Possession,
}

impl SigningDomain {
    fn frame(self, message: &[u8]) -> Vec<u8> {
        let prefix: &[u8] = match self {
            Self::Document => b"raptor/1 document\0",
            Self::Facts => b"raptor/1 facts\0",
            Self::LinkState => b"raptor/1 link state\0",
            Self::Rendezvous => b"raptor/1 rendezvous\0",
            Self::Ticket => b"raptor/1 ticket\0",
            Self::Possession => b"raptor/1 possession\0",
        };
        [prefix, message].concat()
    }
}

/// Why bytes are no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a canonical Ed25519 public key.
    #[error("not a public key")]
    NotAKey,
    /// A sound key, but its address lies outside `fc00::/8`.
    #[error("the key's address is outside fc00::/8")]
    NotInMesh,
}

fn derive_address(public_key: &[u8; 32]) -> Ipv6Addr {
    let digest = Sha512::digest(Sha512::digest(public_key));
    let mut octets = [0u8; 16];
    octets.copy_from_slice(&digest[..16]);
    Ipv6Addr::from(octets)
}

#[cfg(test)]
pub(crate) mod testing {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::SecretKey;

    static KEYS: Mutex<BTreeMap<u64, SecretKey>> = Mutex::new(BTreeMap::new());

    /// The key of this number: the same one every time. Making one takes milliseconds, so all
    /// tests share them.
    pub(crate) fn key(number: u64) -> SecretKey {
        let mut keys = KEYS.lock().unwrap();
        let made = keys.entry(number).or_insert_with(|| {
            let mut counter = number << 32;
            SecretKey::generate(|seed| {
                counter += 1;
                seed[..8].copy_from_slice(&counter.to_le_bytes());
            })
        });
        made.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::key;
    use super::*;

    #[test]
    fn address_starts_with_fc_and_follows_from_the_key() {
        let key = key(1);
        assert_eq!(key.node_id().address().octets()[0], 0xfc);
        let again = SecretKey::from_seed(&key.to_seed()).unwrap();
        assert_eq!(again.node_id(), key.node_id());
    }

    #[test]
    fn text_form_round_trips() {
        let id = key(2).node_id();
        assert_eq!(id.to_string().parse::<NodeId>().unwrap(), id);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<NodeId>(&json).unwrap(), id);
        let bytes = postcard::to_allocvec(&id).unwrap();
        assert_eq!(postcard::from_bytes::<NodeId>(&bytes).unwrap(), id);
    }

    #[test]
    fn both_forms_of_the_key_name_the_same_x25519_point() {
        let key = key(3);
        let secret = key.to_x25519();
        let public = curve25519_dalek::MontgomeryPoint::mul_base_clamped(*secret).to_bytes();
        assert_eq!(public, key.node_id().to_x25519());
    }

    #[test]
    fn a_signature_serves_one_domain_only() {
        let key = key(4);
        let signature = key.sign(SigningDomain::Document, b"hello");
        let id = key.node_id();
        assert!(id.verify(SigningDomain::Document, b"hello", &signature));
        assert!(!id.verify(SigningDomain::Facts, b"hello", &signature));
        assert!(!id.verify(SigningDomain::Document, b"hullo", &signature));
    }

    #[test]
    fn weak_and_foreign_keys_are_refused() {
        assert_eq!(NodeId::from_bytes(&[0; 32]), Err(IdentityError::NotAKey));
        let outside = (0u8..=255)
            .map(|seed| SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes())
            .find(|bytes| derive_address(bytes).octets()[0] != ADDRESS_PREFIX)
            .unwrap();
        assert_eq!(NodeId::from_bytes(&outside), Err(IdentityError::NotInMesh));
    }
}
