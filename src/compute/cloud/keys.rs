//! Public SSH keys that a provider wants to know before a machine is made.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use ring::digest;
use tokio::sync::Mutex;

use crate::compute::cloud::error::CloudCause;
use crate::compute::cloud::provider::Ask;
use crate::compute::cloud::provider::lacks;

/// A provider's list of keys.
pub(super) trait KeyRing: Send + Sync {
    /// Registers a key: its id there.
    fn register<'a>(&'a self, name: &'a str, key: &'a str) -> Ask<'a, String>;

    /// All that are registered: id and key.
    fn registered(&self) -> Ask<'_, Vec<(String, String)>>;
}

/// The provider's ids of keys, by the key itself: each is asked for once.
#[derive(Default)]
pub(super) struct Keys {
    known: Mutex<BTreeMap<String, String>>,
}

impl Keys {
    /// The ids of `keys`. One that is not known is registered; where the provider has it already,
    /// or nobody knows whether it has, it is looked up.
    pub(super) async fn ids(
        &self,
        keys: &[String],
        ring: &dyn KeyRing,
    ) -> Result<Vec<String>, CloudCause> {
        let mut known = self.known.lock().await;
        let mut ids = Vec::new();
        for key in keys {
            if let Some(id) = known.get(key) {
                ids.push(id.clone());
                continue;
            }
            let id = match ring.register(&name_of(key), key).await {
                Ok(id) if !id.is_empty() => id,
                Ok(_) => return Err(lacks("the registration of an SSH key", "id")),
                Err(cause) if cause.is_uncertain() || matches!(cause, CloudCause::Taken { .. }) => {
                    let listed = ring.registered().await?;
                    let mut listed = listed.into_iter();
                    match listed.find(|(_, other)| body_of(other) == body_of(key)) {
                        Some((id, _)) => id,
                        None => return Err(cause),
                    }
                }
                Err(cause) => return Err(cause),
            };
            known.insert(key.clone(), id.clone());
            ids.push(id);
        }
        Ok(ids)
    }
}

/// Type and key, without the comment.
fn body_of(key: &str) -> Vec<&str> {
    key.split_ascii_whitespace().take(2).collect()
}

/// What the key is called there: the same for everybody who has it.
fn name_of(key: &str) -> String {
    let hash = digest::digest(&digest::SHA256, body_of(key).join(" ").as_bytes());
    format!("raptor-{}", &HEXLOWER.encode(hash.as_ref())[..16])
}
