//! Secrets of the document: a value sealed to a key of its own, that key to each who may open it.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::model::secret::SecretValue;
use crate::model::time::Timestamp;
use crate::seal::age;
use crate::seal::draw::Draw;
use crate::seal::error::SealError;
use crate::seal::key::Identity;
use crate::seal::key::Recipient;

/// Longest value, in bytes: what is longer is no secret but a file.
pub const VALUE_SIZE_MAX: usize = 64 * 1024;

/// Somebody who may be able to open a value.
#[derive(Debug, Clone)]
pub enum Opener {
    /// A member, with its own key.
    Member(NodeId, Identity),
    /// Whoever holds the recovery key.
    Recovery(Identity),
}

impl Opener {
    /// The member that holds `key`.
    #[must_use]
    pub fn member(key: &SecretKey) -> Self {
        Self::Member(key.node_id(), Identity::of(key))
    }

    /// The key of `value`.
    ///
    /// # Errors
    /// [`SealError::WrongKey`] when it is not sealed to this one.
    pub fn value_key(&self, value: &SecretValue) -> Result<Identity, SealError> {
        let (sealed, identity) = match self {
            Self::Member(node, identity) => (value.keys.get(node), identity),
            Self::Recovery(identity) => {
                (value.recovery.get(&identity.recipient().to_string()), identity)
            }
        };
        let text = open_text(sealed.ok_or(SealError::WrongKey)?, identity)?;
        Identity::from_file(&text)
    }

    /// `value` in the clear.
    ///
    /// # Errors
    /// As [`SealError`] says.
    pub fn open(&self, value: &SecretValue) -> Result<Zeroizing<String>, SealError> {
        open_text(&value.sealed, &self.value_key(value)?)
    }
}

/// Seals a new value to `members` and to the `recovery` keys. `seed` is used for nothing else.
///
/// # Errors
/// As [`SealError`] says.
pub fn seal(
    text: &str,
    members: impl IntoIterator<Item = NodeId>,
    recovery: &[Recipient],
    now: Timestamp,
    seed: &[u8; 32],
) -> Result<SecretValue, SealError> {
    let mut draw = Draw::new(seed);
    let key = Identity::draw(&draw.next());
    let sealed = age::seal(text.as_bytes(), &[key.recipient()], &draw.next())?;
    let mut keys = BTreeMap::new();
    for node in members {
        keys.insert(node, seal_key(&key, Recipient::of(node), &draw.next())?);
    }
    let mut recoverable = BTreeMap::new();
    for recipient in recovery {
        let sealed = seal_key(&key, *recipient, &draw.next())?;
        recoverable.insert(recipient.to_string(), sealed);
    }
    if keys.is_empty() && recoverable.is_empty() {
        return Err(SealError::NoRecipient);
    }
    Ok(SecretValue {
        set_at: now,
        public: None,
        sealed: BASE64.encode(&sealed),
        keys,
        recovery: recoverable,
        exposed: BTreeMap::new(),
        rest: serde_json::Map::new(),
    })
}

/// Seals a value's key to one more. `seed` is used for nothing else.
///
/// # Errors
/// As [`SealError`] says.
pub fn seal_key(key: &Identity, to: Recipient, seed: &[u8; 32]) -> Result<String, SealError> {
    Ok(BASE64.encode(&age::seal(key.to_text().as_bytes(), &[to], seed)?))
}

fn open_text(sealed: &str, identity: &Identity) -> Result<Zeroizing<String>, SealError> {
    let file = BASE64.decode(sealed.as_bytes()).map_err(|_| SealError::NotSealed)?;
    let bytes = age::open(&file, std::slice::from_ref(identity))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| SealError::NoText)?;
    Ok(Zeroizing::new(text.to_owned()))
}
