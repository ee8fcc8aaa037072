//! Proof that whoever wrote something was trusted with the cluster's backups: a MAC under a key that follows
//! from the recovery key's secret half. The members hold it as a secret; whoever knows the public half alone
//! can seal to the recovery key, and cannot prove this.

use data_encoding::BASE64;
use ring::hmac;
use zeroize::Zeroizing;

use crate::seal::draw::hkdf;
use crate::seal::key::Identity;

/// Name of the secret by which the members hold it.
pub const PROOF_SECRET: &str = "backup-proof";

/// Bytes of a proof.
pub const PROOF_SIZE: usize = 32;

/// The key of the MAC. Wiped when it is dropped.
#[derive(Clone)]
pub struct ProofKey(Zeroizing<[u8; 32]>);

impl ProofKey {
    /// The one that belongs to a recovery key.
    #[must_use]
    pub fn of(recovery: &Identity) -> Self {
        Self(hkdf(recovery.secret(), b"raptor/1", b"backup proof"))
    }

    /// As it is sealed.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(self.0.as_slice()))
    }

    /// What [`ProofKey::to_text`] wrote; none for anything else.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64.decode(text.trim().as_bytes()).ok()?);
        let mut key = Zeroizing::new([0; 32]);
        (bytes.len() == key.len()).then(|| key.copy_from_slice(&bytes))?;
        Some(Self(key))
    }

    /// HMAC-SHA-256 of `message`.
    #[must_use]
    pub fn prove(&self, message: &[u8]) -> [u8; PROOF_SIZE] {
        let tag = hmac::sign(&self.key(), message);
        let mut proof = [0; PROOF_SIZE];
        proof.copy_from_slice(tag.as_ref());
        proof
    }

    /// Whether `proof` is that of `message`; takes as long whatever it is.
    #[must_use]
    pub fn proves(&self, message: &[u8], proof: &[u8]) -> bool {
        hmac::verify(&self.key(), message, proof).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice())
    }
}

impl std::fmt::Debug for ProofKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ProofKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_from_the_secret_half_alone_and_proves_one_message() {
        let (ours, other) = (Identity::draw(&[1; 32]), Identity::draw(&[2; 32]));
        let key = ProofKey::of(&ours);
        let again = ProofKey::from_text(&key.to_text()).unwrap();
        let proof = again.prove(b"message");
        assert!(key.proves(b"message", &proof));
        assert!(!key.proves(b"massage", &proof) && !key.proves(b"message", &[0; PROOF_SIZE]));
        assert!(!ProofKey::of(&other).proves(b"message", &proof));
        assert!(ProofKey::from_text("eA==").is_none() && ProofKey::from_text("?").is_none());
    }
}
