//! The cluster's secrets as somebody with a key sees them: sealed until they are needed.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use zeroize::Zeroizing;

use crate::compute::Secrets;
use crate::model::secret::SecretRecords;
use crate::seal::error::SealError;
use crate::seal::secret::Opener;

/// Keys, and the document's secrets.
#[derive(Debug)]
pub struct Vault {
    openers: Vec<Opener>,
    records: RwLock<Arc<SecretRecords>>,
}

/// Why a secret cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// There is none.
    #[error("there is no secret of that name")]
    Unknown,
    /// It is sealed to others.
    #[error("no key here may open it")]
    NotForUs,
    /// Its seal is broken.
    #[error("its seal cannot be opened: {0}")]
    Broken(SealError),
}

impl Vault {
    /// Opens with any of `openers`; there are no secrets yet.
    #[must_use]
    pub fn new(openers: Vec<Opener>) -> Self {
        Self { openers, records: RwLock::default() }
    }

    /// Takes the document's secrets in the place of those before.
    pub fn replace(&self, records: Arc<SecretRecords>) {
        *self.records.write().unwrap_or_else(PoisonError::into_inner) = records;
    }

    /// A secret in the clear.
    ///
    /// # Errors
    /// As [`VaultError`] says.
    pub fn open(&self, name: &str) -> Result<Zeroizing<String>, VaultError> {
        let records = self.records.read().unwrap_or_else(PoisonError::into_inner);
        let record = records.iter().find(|(known, _)| known.as_str() == name);
        let (_, value) =
            record.and_then(|(_, record)| record.current()).ok_or(VaultError::Unknown)?;
        let mut refused = VaultError::NotForUs;
        for opener in &self.openers {
            match opener.open(value) {
                Ok(text) => return Ok(text),
                Err(SealError::WrongKey) => {}
                Err(error) => refused = VaultError::Broken(error),
            }
        }
        Err(refused)
    }

    /// The same, for back-ends.
    #[must_use]
    pub fn source(self: &Arc<Self>) -> Secrets {
        let vault = Arc::clone(self);
        Arc::new(move |name| vault.open(name).map_err(|error| error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::testing::key;
    use crate::model::secret::SecretRecord;
    use crate::model::time::Timestamp;
    use crate::seal::secret::seal;

    #[test]
    fn a_secret_is_opened_by_those_it_is_for_and_the_latest_value_counts() {
        let record = |holder: u64| {
            let value = |text: &str, at: u8| {
                let holders = [key(holder).node_id()];
                seal(text, holders, &[], Timestamp::from_millis(at.into()), &[at; 32]).unwrap()
            };
            let values =
                [("b".to_owned(), value("old", 1)), ("a".to_owned(), value("new", 2))].into();
            SecretRecord { values, ..SecretRecord::default() }
        };
        let name = |text: &str| text.parse().unwrap();
        let vault = Arc::new(Vault::new(vec![Opener::member(&key(1))]));
        assert_eq!(vault.open("mine"), Err(VaultError::Unknown));
        let mut broken = record(1);
        let value = broken.values.get_mut("a").unwrap();
        value.sealed = value.sealed.replacen(|letter| letter != 'A', "A", 200);
        let records =
            [(name("mine"), record(1)), (name("theirs"), record(2)), (name("broken"), broken)];
        vault.replace(Arc::new(records.into()));
        assert_eq!(vault.open("mine").unwrap().as_str(), "new");
        assert_eq!(vault.open("theirs"), Err(VaultError::NotForUs));
        assert!(matches!(vault.open("broken"), Err(VaultError::Broken(_))));
        assert_eq!((vault.source())("theirs").unwrap_err(), "no key here may open it");
    }
}
