//! The two ciphers a session or a hop may use, and which of them a machine prefers.

use ring::aead;
use ring::hmac;
use zeroize::Zeroizing;

/// A cipher that seals and authenticates. The numbers go over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suite {
    /// RFC 8439. Every machine has it.
    ChaCha20Poly1305 = 1,
    /// NIST SP 800-38D with a 256-bit key. Used when both processors have instructions for it.
    Aes256Gcm = 2,
}

/// What a machine offers: one bit a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suites(u8);

impl Suites {
    /// The suite that every machine has.
    pub const PORTABLE: Self = Self(1 << (Suite::ChaCha20Poly1305 as u8 - 1));
    /// Both.
    pub const ALL: Self = Self(Self::PORTABLE.0 | 1 << (Suite::Aes256Gcm as u8 - 1));

    /// What suits this machine's processor.
    #[must_use]
    pub fn of_processor() -> Self {
        if has_aes_instructions() { Self::ALL } else { Self::PORTABLE }
    }

    /// Reads the byte of a handshake. Unknown bits are later versions' suites.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The byte of a handshake.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self.0
    }

    /// Whether `suite` is among them.
    #[must_use]
    pub fn contains(self, suite: Suite) -> bool {
        self.0 & 1 << (suite as u8 - 1) != 0
    }

    /// The suite that a responder with these chooses for an initiator with `offered`.
    #[must_use]
    pub fn choose(self, offered: Self) -> Option<Suite> {
        [Suite::Aes256Gcm, Suite::ChaCha20Poly1305]
            .into_iter()
            .find(|suite| self.contains(*suite) && offered.contains(*suite))
    }
}

/// Whether AES and the multiplication of GCM are instructions here. In software they would be
/// slower than `ChaCha20`.
fn has_aes_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}

impl Suite {
    /// Reads the byte of a handshake.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::ChaCha20Poly1305),
            2 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    /// The key that `secret` yields for one purpose under this suite: HMAC-SHA-256 over `label`
    /// and the suite's byte. None only if the cipher refuses a key of its own length.
    #[must_use]
    pub fn key(self, secret: &[u8; 32], label: &[u8]) -> Option<aead::LessSafeKey> {
        let bytes = derive(secret, &[label, &[self as u8]].concat());
        let algorithm = match self {
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
            Self::Aes256Gcm => &aead::AES_256_GCM,
        };
        aead::UnboundKey::new(algorithm, bytes.as_slice()).ok().map(aead::LessSafeKey::new)
    }
}

/// The key that `secret` yields for one purpose: HMAC-SHA-256 over `label`.
pub(super) fn derive(secret: &[u8; 32], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), label);
    let mut key = Zeroizing::new([0u8; 32]);
    key.copy_from_slice(mac.as_ref());
    key
}

/// Four zero bytes and the counter, little-endian: Noise's nonce for ChaCha20-Poly1305, here for
/// both suites.
#[must_use]
pub fn nonce(counter: u64) -> aead::Nonce {
    let mut bytes = [0u8; aead::NONCE_LEN];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    aead::Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_suite_is_chosen_only_when_both_have_it() {
        assert_eq!(Suites::ALL.choose(Suites::ALL), Some(Suite::Aes256Gcm));
        assert_eq!(Suites::ALL.choose(Suites::PORTABLE), Some(Suite::ChaCha20Poly1305));
        assert_eq!(Suites::PORTABLE.choose(Suites::ALL), Some(Suite::ChaCha20Poly1305));
        assert_eq!(Suites::ALL.choose(Suites::from_byte(0b1111_1100)), None);
        assert_eq!(Suites::ALL.choose(Suites::from_byte(0xff)), Some(Suite::Aes256Gcm));
        assert!(Suites::of_processor().contains(Suite::ChaCha20Poly1305));
        for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
            assert_eq!(Suite::from_byte(suite as u8), Some(suite));
        }
    }

    #[test]
    fn each_purpose_and_suite_has_a_key_of_its_own() {
        let sealed = |suite: Suite, label: &[u8]| {
            let mut bytes = [0u8; 16];
            let key = suite.key(&[7; 32], label).unwrap();
            let tag = key.seal_in_place_separate_tag(nonce(0), aead::Aad::empty(), &mut bytes);
            let _ = tag.unwrap();
            bytes
        };
        let suites = [Suite::ChaCha20Poly1305, Suite::Aes256Gcm];
        let mut all = suites.map(|suite| [sealed(suite, b"one"), sealed(suite, b"two")]).concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
    }
}
