//! The archive: all that is needed to found a cluster again, in one sealed file.
//!
//! `raptBKUP`, version u32, length of the head u32 (little-endian), head (JSON, in the clear), then an
//! age file for the recovery keys. Its text is the SHA-256 of all that stands before it, so that the
//! head cannot be changed either, a proof (`seal/proof.rs`) of that hash and the content, or zeros in its
//! place, and the content (JSON). Version 1 has no place for a proof.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::backup::error::ArchiveError;
use crate::model::cluster::{ClusterId, Genesis};
use crate::model::identity::NodeId;
use crate::model::name::Name;
use crate::model::time::Timestamp;
use crate::seal::age;
use crate::seal::error::SealError;
use crate::seal::key::{Identity, Recipient};
use crate::seal::proof::{PROOF_SIZE, ProofKey};

const MAGIC: &[u8; 8] = b"raptBKUP";
const VERSION: u32 = 2;

/// The version without proofs.
const VERSION_UNPROVEN: u32 = 1;
const HEAD_SIZE_MAX: usize = 64 * 1024;
const HASH: usize = 32;

/// What anybody may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The cluster's name.
    pub cluster: Name,
    /// Its id.
    pub cluster_id: ClusterId,
    /// When the backup was made.
    pub created_at: Timestamp,
    /// The build that made it.
    pub build: String,
    /// What a later build says besides.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What only the recovery key opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// The cluster's first moment.
    pub genesis: Genesis,
    /// The document, secrets sealed as they stand in it.
    pub document: Value,
    /// How many updates had made it.
    pub document_updates: u64,
    /// Files of installed modules by their path below `modules/`, in base64.
    pub modules: BTreeMap<String, String>,
    /// The member whose document it is.
    pub written_by: NodeId,
    /// What a later build says besides.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// An opened archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Archive {
    /// What anybody may read.
    pub head: Head,
    /// What only the recovery key opens.
    pub content: Content,
}

impl Archive {
    /// Seals it to `recipients`, with a proof that whoever did so was trusted with that. `seed` is used
    /// for nothing else.
    ///
    /// # Errors
    /// As [`ArchiveError`] says.
    pub fn seal(
        &self,
        recipients: &[Recipient],
        proof: Option<&ProofKey>,
        seed: &[u8; 32],
    ) -> Result<Vec<u8>, ArchiveError> {
        let unreadable = |error: serde_json::Error| ArchiveError::Content(error.to_string());
        let head = serde_json::to_vec(&self.head).map_err(unreadable)?;
        let length = u32::try_from(head.len()).map_err(|_| ArchiveError::NotAnArchive)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&head);
        let hash = Sha256::digest(&bytes);
        let content = serde_json::to_vec(&self.content).map_err(unreadable)?;
        let proven = [hash.as_slice(), &content].concat();
        let proof = proof.map_or([0; PROOF_SIZE], |key| key.prove(&proven));
        let text = [hash.as_slice(), &proof, &content].concat();
        bytes.extend(age::seal(&text, recipients, seed).map_err(ArchiveError::Seal)?);
        Ok(bytes)
    }

    /// Opens what [`Archive::seal`] made; also whether it was proven by who was trusted with the
    /// cluster's backups.
    ///
    /// # Errors
    /// As [`ArchiveError`] says.
    pub fn open(bytes: &[u8], key: &Identity) -> Result<(Self, bool), ArchiveError> {
        let Split { version, head, before, sealed } = split(bytes)?;
        let text = age::open(sealed, std::slice::from_ref(key)).map_err(|error| match error {
            SealError::WrongKey => ArchiveError::WrongKey,
            _ => ArchiveError::Altered,
        })?;
        let (hash, content) = text.split_at_checked(HASH).ok_or(ArchiveError::Altered)?;
        if hash != Sha256::digest(before).as_slice() {
            return Err(ArchiveError::Altered);
        }
        let (proof, content) = match version {
            VERSION_UNPROVEN => ([0; PROOF_SIZE].as_slice(), content),
            _ => content.split_at_checked(PROOF_SIZE).ok_or(ArchiveError::Altered)?,
        };
        let is_proven = ProofKey::of(key).proves(&[hash, content].concat(), proof);
        let content: Content = serde_json::from_slice(content)
            .map_err(|error| ArchiveError::Content(error.to_string()))?;
        if content.genesis.cluster_id() != head.cluster_id {
            return Err(ArchiveError::Content("it is of another cluster than its head".to_owned()));
        }
        Ok((Self { head, content }, is_proven))
    }
}

impl Head {
    /// The head of an archive, which nothing proves yet: it tells which key to try.
    ///
    /// # Errors
    /// As [`ArchiveError`] says.
    pub fn read(bytes: &[u8]) -> Result<Self, ArchiveError> {
        split(bytes).map(|split| split.head)
    }
}

/// An archive's parts: `before` is all that stands before the `sealed` one.
struct Split<'a> {
    version: u32,
    head: Head,
    before: &'a [u8],
    sealed: &'a [u8],
}

fn split(bytes: &[u8]) -> Result<Split<'_>, ArchiveError> {
    let fixed = MAGIC.len() + 8;
    let rest = bytes.strip_prefix(MAGIC).ok_or(ArchiveError::NotAnArchive)?;
    let (version, rest) = number(rest)?;
    if !(VERSION_UNPROVEN..=VERSION).contains(&version) {
        return Err(ArchiveError::Version(version));
    }
    let (length, rest) = number(rest)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > HEAD_SIZE_MAX {
        return Err(ArchiveError::NotAnArchive);
    }
    let (head, sealed) = rest.split_at_checked(length).ok_or(ArchiveError::NotAnArchive)?;
    let head = serde_json::from_slice(head).map_err(|_| ArchiveError::NotAnArchive)?;
    let before = bytes.get(..fixed + length).ok_or(ArchiveError::NotAnArchive)?;
    Ok(Split { version, head, before, sealed })
}

fn number(bytes: &[u8]) -> Result<(u32, &[u8]), ArchiveError> {
    let (number, rest) = bytes.split_first_chunk::<4>().ok_or(ArchiveError::NotAnArchive)?;
    Ok((u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::identity::testing::key;

    fn archive() -> Archive {
        let name: Name = "default".parse().unwrap();
        let genesis = Genesis { founder: key(1).node_id(), nonce: 7, name: name.clone() };
        Archive {
            head: Head {
                cluster: name,
                cluster_id: genesis.cluster_id(),
                created_at: Timestamp::from_millis(5),
                build: "1".to_owned(),
                rest: Map::new(),
            },
            content: Content {
                genesis,
                document: json!({"config": {"user": {"motto": "kept"}}, "later": [1, 2]}),
                document_updates: 3,
                modules: [("provisioning/x/module.toml".to_owned(), "eA==".to_owned())].into(),
                written_by: key(1).node_id(),
                rest: Map::new(),
            },
        }
    }

    fn sealed() -> (Identity, Vec<u8>) {
        let identity = Identity::draw(&[1; 32]);
        let proof = ProofKey::of(&identity);
        let bytes = archive().seal(&[identity.recipient()], Some(&proof), &[2; 32]).unwrap();
        (identity, bytes)
    }

    #[test]
    fn what_was_sealed_is_opened_by_the_key_alone() {
        let (identity, bytes) = sealed();
        assert_eq!(Archive::open(&bytes, &identity).unwrap(), (archive(), true));
        assert_eq!(Head::read(&bytes).unwrap(), archive().head);
        let other = Identity::draw(&[9; 32]);
        assert_eq!(Archive::open(&bytes, &other), Err(ArchiveError::WrongKey));
        assert!(!bytes.windows(4).any(|window| window == b"kept"));
    }

    #[test]
    fn other_versions_and_other_files_are_said() {
        let (identity, mut bytes) = sealed();
        bytes[8] = 0;
        let older = Archive::open(&bytes, &identity).unwrap_err();
        assert_eq!(older.to_string(), "it has format version 0; this build reads versions 1 and 2");
        for nonsense in [b"".as_slice(), b"raptBKUP", b"PK\x03\x04", &[0xff; 100]] {
            assert_eq!(Archive::open(nonsense, &identity), Err(ArchiveError::NotAnArchive));
        }
    }

    #[test]
    fn who_knows_the_public_half_alone_proves_nothing() {
        let identity = Identity::draw(&[1; 32]);
        let stranger = ProofKey::of(&Identity::draw(&[8; 32]));
        for proof in [None, Some(&stranger)] {
            let forged = archive().seal(&[identity.recipient()], proof, &[2; 32]).unwrap();
            assert_eq!(Archive::open(&forged, &identity).unwrap(), (archive(), false));
        }
    }

    #[test]
    fn an_archive_of_version_1_is_read_and_unproven() {
        let identity = Identity::draw(&[1; 32]);
        let made = archive();
        let head = serde_json::to_vec(&made.head).unwrap();
        let length = u32::try_from(head.len()).unwrap();
        let mut bytes =
            [MAGIC.as_slice(), &1u32.to_le_bytes(), &length.to_le_bytes(), &head].concat();
        let mut text = Sha256::digest(&bytes).to_vec();
        serde_json::to_writer(&mut text, &made.content).unwrap();
        bytes.extend(age::seal(&text, &[identity.recipient()], &[2; 32]).unwrap());
        assert_eq!(Archive::open(&bytes, &identity).unwrap(), (made, false));
    }

    #[test]
    fn a_head_of_another_archive_is_noticed() {
        let (identity, bytes) = sealed();
        let mut other = archive();
        other.head.created_at = Timestamp::from_millis(6_000_000_000_000);
        let proof = ProofKey::of(&identity);
        let foreign = other.seal(&[identity.recipient()], Some(&proof), &[3; 32]).unwrap();
        let length = |bytes: &[u8]| split(bytes).unwrap().before.len();
        let mixed = [&foreign[..length(&foreign)], &bytes[length(&bytes)..]].concat();
        assert_eq!(Archive::open(&mixed, &identity), Err(ArchiveError::Altered));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Each byte, altered in any way, and each cut.
        #[test]
        fn tampering_is_detected(flip in 1u8..=255) {
            let (identity, bytes) = sealed();
            for place in 0..bytes.len() {
                let mut altered = bytes.clone();
                altered[place] ^= flip;
                prop_assert!(Archive::open(&altered, &identity).is_err(), "byte {}", place);
            }
            let cut = usize::from(flip) * bytes.len() / 256;
            prop_assert!(Archive::open(&bytes[..cut], &identity).is_err());
        }
    }
}
