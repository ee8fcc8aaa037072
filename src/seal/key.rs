//! The keys of sealing: X25519, written as age writes them. A member's is its node key.

use std::fmt;
use std::str::FromStr;

use curve25519_dalek::montgomery::MontgomeryPoint;
use zeroize::Zeroizing;

use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::seal::bech32;
use crate::seal::draw::Draw;
use crate::seal::error::SealError;

const RECIPIENT_PREFIX: &str = "age";
const IDENTITY_PREFIX: &str = "age-secret-key-";

/// The public half: whom something is sealed to. `age1...`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recipient([u8; 32]);

impl Recipient {
    /// A member: the X25519 form of its node key.
    #[must_use]
    pub fn of(node: NodeId) -> Self {
        Self(node.to_x25519())
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&bech32::encode(RECIPIENT_PREFIX, &self.0))
    }
}

impl FromStr for Recipient {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = bech32::decode(RECIPIENT_PREFIX, text);
        bytes.map(|bytes| Self(*bytes)).ok_or(SealError::NotAKey("age1..."))
    }
}

/// The secret half: what opens. Wiped when it is dropped; never printed by accident.
#[derive(Clone)]
pub struct Identity(Zeroizing<[u8; 32]>);

impl Identity {
    /// A member's own.
    #[must_use]
    pub fn of(key: &SecretKey) -> Self {
        Self(key.to_x25519())
    }

    /// A new one, from a seed that is used for nothing else.
    #[must_use]
    pub fn draw(seed: &[u8; 32]) -> Self {
        Self(Draw::new(seed).next())
    }

    /// Its public half.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient(MontgomeryPoint::mul_base_clamped(*self.0).to_bytes())
    }

    /// `AGE-SECRET-KEY-1...`
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(bech32::encode(IDENTITY_PREFIX, &self.0).to_ascii_uppercase())
    }

    /// Reads a key file as `age-keygen` writes it: one key, and lines that begin with `#`.
    ///
    /// # Errors
    /// [`SealError::NotAKey`].
    pub fn from_file(text: &str) -> Result<Self, SealError> {
        let mut keys =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let wrong = SealError::NotAKey("AGE-SECRET-KEY-1...");
        let key = keys.next().ok_or(wrong)?;
        if keys.next().is_some() {
            return Err(wrong);
        }
        bech32::decode(IDENTITY_PREFIX, key).map(Self).ok_or(wrong)
    }

    pub(super) fn secret(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// What both halves of two keys have in common (RFC 7748); an error for points that give the
    /// same to everybody.
    pub(super) fn agree(&self, theirs: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, SealError> {
        let shared = MontgomeryPoint(*theirs).mul_clamped(*self.0).to_bytes();
        if shared == [0; 32] { Err(SealError::WeakKey) } else { Ok(Zeroizing::new(shared)) }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Identity({})", self.recipient())
    }
}
