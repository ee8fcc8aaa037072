//! Many random bytes from one seed: HKDF-SHA-256 with a counter as its purpose.

use ring::hkdf;
use zeroize::Zeroizing;

/// Gives bytes that nobody can guess who does not know the seed; no two draws are alike.
pub(super) struct Draw {
    key: hkdf::Prk,
    counter: u64,
}

impl Draw {
    /// From a seed that is used for nothing else.
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"raptor/1 draw");
        Self { key: salt.extract(seed), counter: 0 }
    }

    pub(super) fn next<const N: usize>(&mut self) -> Zeroizing<[u8; N]> {
        self.counter += 1;
        expand(&self.key, &self.counter.to_le_bytes())
    }
}

/// HKDF with SHA-256 (RFC 5869).
pub(super) fn hkdf<const N: usize>(
    secret: &[u8],
    salt: &[u8],
    purpose: &[u8],
) -> Zeroizing<[u8; N]> {
    expand(&hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret), purpose)
}

/// At most 255 * 32 bytes, as RFC 5869 says; no caller asks for more than 32.
fn expand<const N: usize>(key: &hkdf::Prk, purpose: &[u8]) -> Zeroizing<[u8; N]> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut bytes = Zeroizing::new([0u8; N]);
    let purpose = [purpose];
    let filled = key.expand(&purpose, Length(N)).and_then(|okm| okm.fill(bytes.as_mut_slice()));
    debug_assert!(filled.is_ok());
    bytes
}
