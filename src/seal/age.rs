//! age files, version 1, sealed to X25519 keys. <https://age-encryption.org/v1>
//!
//! A header names no one: each recipient has a stanza with the file's key, which only it can open.
//! Stanzas of other kinds are passed over, as the format asks.

use data_encoding::BASE64_NOPAD;
use ring::hmac;
use zeroize::Zeroizing;

use crate::seal::draw::Draw;
use crate::seal::draw::hkdf;
use crate::seal::error::SealError;
use crate::seal::key::Identity;
use crate::seal::key::Recipient;
use crate::seal::stream;
use crate::seal::stream::Cipher;

const VERSION_LINE: &str = "age-encryption.org/v1\n";
const X25519: &str = "X25519";
const PURPOSE: &[u8] = b"age-encryption.org/v1/X25519";
const NONCE: usize = 16;

/// Digits of a full line of a stanza's body.
const LINE: usize = 64;

/// Longest header that is read: 10,000 recipients.
const HEADER_SIZE_MAX: usize = 2 * 1024 * 1024;

/// Seals `text` to `recipients`. `seed` is used for nothing else.
///
/// # Errors
/// [`SealError::NoRecipient`]; [`SealError::WeakKey`] for a recipient that is no key.
pub fn seal(text: &[u8], recipients: &[Recipient], seed: &[u8; 32]) -> Result<Vec<u8>, SealError> {
    if recipients.is_empty() {
        return Err(SealError::NoRecipient);
    }
    let mut draw = Draw::new(seed);
    let file_key = draw.next::<16>();
    let mut header = VERSION_LINE.to_owned();
    for recipient in recipients {
        let once = Identity::draw(&draw.next());
        let share = once.recipient();
        let shared = once.agree(recipient.as_bytes())?;
        let key = wrapping_key(&shared, share.as_bytes(), recipient);
        let cipher = Cipher::new(&key).ok_or(SealError::WeakKey)?;
        let body = cipher.seal([0; 12], file_key.as_slice()).ok_or(SealError::WeakKey)?;
        let (share, body) = (BASE64_NOPAD.encode(share.as_bytes()), BASE64_NOPAD.encode(&body));
        for part in ["-> ", X25519, " ", &share, "\n", &body, "\n"] {
            header.push_str(part);
        }
    }
    header.push_str("---");
    let mac = hmac::sign(&header_key(&file_key), header.as_bytes());
    for part in [" ", &BASE64_NOPAD.encode(mac.as_ref()), "\n"] {
        header.push_str(part);
    }
    let nonce = draw.next::<NONCE>();
    let cipher = payload_cipher(&file_key, nonce.as_slice()).ok_or(SealError::WeakKey)?;
    let payload = stream::seal(&cipher, text).ok_or(SealError::WeakKey)?;
    Ok([header.as_bytes(), nonce.as_slice(), &payload].concat())
}

/// Opens what was sealed to one of `identities`.
///
/// # Errors
/// As [`SealError`] says: no age file, not for these keys, altered.
pub fn open(file: &[u8], identities: &[Identity]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let header = Header::read(file).ok_or(SealError::NotSealed)?;
    let file_key = header.file_key(identities)?;
    // Compares in constant time.
    hmac::verify(&header_key(&file_key), header.signed, &header.mac)
        .map_err(|_| SealError::Altered)?;
    let (nonce, payload) = header.rest.split_at_checked(NONCE).ok_or(SealError::Altered)?;
    let cipher = payload_cipher(&file_key, nonce).ok_or(SealError::Altered)?;
    stream::open(&cipher, payload)
}

/// One recipient's share of a header, of the one kind that is read.
struct Stanza {
    share: [u8; 32],
    body: [u8; 32],
}

struct Header<'a> {
    stanzas: Vec<Stanza>,
    /// What the mac covers.
    signed: &'a [u8],
    mac: [u8; 32],
    rest: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(file: &'a [u8]) -> Option<Self> {
        let mut lines = Lines { file, place: 0 };
        if lines.next()? != VERSION_LINE.trim_end() {
            return None;
        }
        let mut stanzas = Vec::new();
        loop {
            let start = lines.place;
            let line = lines.next()?;
            if let Some(mac) = line.strip_prefix("--- ") {
                let signed = file.get(..start + "---".len())?;
                let rest = file.get(lines.place..)?;
                return Some(Self { stanzas, signed, mac: fixed(mac)?, rest });
            }
            let mut words = line.strip_prefix("-> ")?.split(' ');
            let (kind, share, more) = (words.next()?, words.next(), words.next());
            let body = lines.body()?;
            if kind == X25519 {
                let (share, body) = (fixed(share?)?, fixed(&body)?);
                if more.is_some() {
                    return None;
                }
                stanzas.push(Stanza { share, body });
            }
        }
    }

    fn file_key(&self, identities: &[Identity]) -> Result<Zeroizing<[u8; 16]>, SealError> {
        for identity in identities {
            let recipient = identity.recipient();
            for stanza in &self.stanzas {
                let shared = identity.agree(&stanza.share)?;
                let key = wrapping_key(&shared, &stanza.share, &recipient);
                let opened = Cipher::new(&key).and_then(|it| it.open([0; 12], &stanza.body));
                if let Some(opened) = opened {
                    let mut file_key = Zeroizing::new([0; 16]);
                    file_key.copy_from_slice(&opened);
                    return Ok(file_key);
                }
            }
        }
        Err(SealError::WrongKey)
    }
}

/// The lines of a header; none beyond its bound, or where it is no text.
struct Lines<'a> {
    file: &'a [u8],
    place: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.file.get(self.place..self.file.len().min(HEADER_SIZE_MAX))?;
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        self.place += length + 1;
        let line = rest.get(..length)?;
        line.is_ascii().then(|| std::str::from_utf8(line).ok()).flatten()
    }

    /// The digits of a stanza's body: full lines, and a shorter one at the end.
    fn body(&mut self) -> Option<String> {
        let mut body = String::new();
        loop {
            let line = self.next()?;
            body.push_str(line);
            match line.len() {
                LINE => {}
                shorter if shorter < LINE => return Some(body),
                _ => return None,
            }
        }
    }
}

/// 32 bytes from their one sound form in base64.
fn fixed(digits: &str) -> Option<[u8; 32]> {
    BASE64_NOPAD.decode(digits.as_bytes()).ok()?.try_into().ok()
}

fn wrapping_key(shared: &[u8; 32], share: &[u8; 32], to: &Recipient) -> Zeroizing<[u8; 32]> {
    hkdf(shared, &[share.as_slice(), to.as_bytes()].concat(), PURPOSE)
}

fn header_key(file_key: &[u8; 16]) -> hmac::Key {
    let key = hkdf::<32>(file_key, &[], b"header");
    hmac::Key::new(hmac::HMAC_SHA256, key.as_slice())
}

fn payload_cipher(file_key: &[u8; 16], nonce: &[u8]) -> Option<Cipher> {
    Cipher::new(&hkdf(file_key, nonce, b"payload"))
}
