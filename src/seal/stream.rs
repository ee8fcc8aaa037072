//! The payload of an age file: pieces of 64 KiB, each sealed under its number and whether it is the
//! last (STREAM). <https://age-encryption.org/v1>

use ring::aead;
use zeroize::Zeroizing;

use crate::seal::error::SealError;

const PIECE: usize = 64 * 1024;
const TAG: usize = 16;

/// ChaCha20-Poly1305 with one key.
pub(super) struct Cipher(aead::LessSafeKey);

impl Cipher {
    pub(super) fn new(key: &[u8; 32]) -> Option<Self> {
        let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, key).ok()?;
        Some(Self(aead::LessSafeKey::new(key)))
    }

    /// Each nonce may be used once.
    pub(super) fn seal(&self, nonce: [u8; 12], text: &[u8]) -> Option<Vec<u8>> {
        // Room for the tag: the plain text is not copied elsewhere while it grows.
        let mut bytes = Vec::with_capacity(text.len() + TAG);
        bytes.extend_from_slice(text);
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(nonce, aead::Aad::empty(), &mut bytes).ok()?;
        Some(bytes)
    }

    pub(super) fn open(&self, nonce: [u8; 12], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let length = self.0.open_in_place(nonce, aead::Aad::empty(), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

/// The number of a piece, 11 bytes, and whether it is the last.
fn nonce(number: u64, is_last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(is_last);
    nonce
}

pub(super) fn seal(cipher: &Cipher, text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() + (text.len() / PIECE + 1) * TAG);
    let pieces: Vec<&[u8]> =
        if text.is_empty() { vec![text] } else { text.chunks(PIECE).collect() };
    let last = pieces.len() - 1;
    for (index, piece) in pieces.into_iter().enumerate() {
        let number = u64::try_from(index).ok()?;
        out.extend_from_slice(&cipher.seal(nonce(number, index == last), piece)?);
    }
    Some(out)
}

pub(super) fn open(cipher: &Cipher, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut out = Zeroizing::new(Vec::with_capacity(sealed.len()));
    let count = sealed.len().div_ceil(PIECE + TAG);
    for (index, piece) in sealed.chunks(PIECE + TAG).enumerate() {
        let is_last = index + 1 == count;
        let number = u64::try_from(index).map_err(|_| SealError::Altered)?;
        let text = cipher.open(nonce(number, is_last), piece).ok_or(SealError::Altered)?;
        // An empty piece stands for an empty file and for nothing else.
        if text.is_empty() && index > 0 {
            return Err(SealError::Altered);
        }
        out.extend_from_slice(&text);
    }
    if count == 0 { Err(SealError::Altered) } else { Ok(out) }
}
