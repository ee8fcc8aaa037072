//! What is written into the document of a cluster that is founded again, from its backup.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::agent::api::DocumentChange;
use crate::agent::clock;
use crate::agent::clock::RandomError;
use crate::config::document::views::{CONFIG, MACHINES, MEMBERS, RETIRED, SECRETS, TICKETS};
use crate::config::path::Path;
use crate::model::identity::NodeId;
use crate::model::machine::{IntentId, MachineRecord};
use crate::model::name::Name;
use crate::model::secret::{Exposure, SecretRecord};
use crate::model::time::Timestamp;
use crate::seal::error::SealError;
use crate::seal::key::{Identity, Recipient};
use crate::seal::secret::{Opener, seal_key};

/// Why a machine or a secret's holder of before is none any more.
const LOST: &str = "lost before the restore";

/// Most bytes of changes in one write: an update of the document holds at most 1 MiB.
const BATCH_SIZE_MAX: usize = 512 * 1024;

/// Keys that are the new cluster's own, or written in a way of their own.
const OWN: [&str; 8] = ["version", "cluster", MEMBERS, MACHINES, TICKETS, RETIRED, SECRETS, CONFIG];

/// Why a secret cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Its seal fails.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// What is to be written, in this order; the configuration with its rules last.
#[derive(Debug, Default)]
pub struct Restored {
    /// Changes that are small enough to be one write each.
    pub batches: Vec<Vec<DocumentChange>>,
    /// Secrets that the key does not open: they are not restored.
    pub lost: Vec<String>,
}

/// The changes that bring `document` back, its secrets sealed to `founder`. With `machines` those of
/// before count as lost: what a back-end still lists of them is given back.
///
/// # Errors
/// [`RestoreError::Random`].
pub fn restored(
    document: &Value,
    key: &Identity,
    founder: NodeId,
    now: Timestamp,
    machines: bool,
) -> Result<Restored, RestoreError> {
    let mut changes = Vec::new();
    let mut lost = Vec::new();
    let mut set = |path: String, value: Value| changes.push(DocumentChange::Set { path, value });
    let section = |key: &str| document.get(key).and_then(Value::as_object).into_iter().flatten();
    for (name, value) in section(SECRETS) {
        match secret(document, value, key, founder, now) {
            Ok(record) => set(format!("{SECRETS}.{name}"), json!(record)),
            Err(RestoreError::Random(error)) => return Err(error.into()),
            Err(RestoreError::Seal(_)) => lost.push(name.clone()),
        }
    }
    if machines {
        for (intent, tombstone) in section(RETIRED) {
            set(format!("{RETIRED}.{intent}"), tombstone.clone());
        }
        for (intent, record) in section(MACHINES) {
            let known = (
                intent.parse::<IntentId>(),
                serde_json::from_value::<MachineRecord>(record.clone()),
            );
            if let (Ok(intent), Ok(record)) = known {
                let tombstone = record.tombstone(now, LOST, false);
                set(format!("{RETIRED}.{intent}"), json!(tombstone));
            }
        }
    }
    for (key, value) in document.as_object().into_iter().flatten() {
        if !OWN.contains(&key.as_str()) {
            set(Path::root().join(key).to_string(), value.clone());
        }
    }
    changes.extend(configuration(document.get(CONFIG)));
    Ok(Restored { batches: batches(changes), lost })
}

/// The configuration in pieces, as the modules that it carries are too large for one write; its rules
/// last, since members act on them.
fn configuration(config: Option<&Value>) -> Vec<DocumentChange> {
    let root = Path::root().join(CONFIG);
    let set = |path: Path, value: &Value| DocumentChange::Set {
        path: path.to_string(),
        value: value.clone(),
    };
    let mut changes = vec![DocumentChange::Unset { path: root.to_string() }];
    let mut rules = None;
    for (key, value) in config.and_then(Value::as_object).into_iter().flatten() {
        match (key.as_str(), value) {
            ("rules", rule) => rules = Some(set(root.join(key), rule)),
            ("modules", Value::Object(modules)) => {
                let folder = root.join(key);
                changes.extend(modules.iter().map(|(name, value)| set(folder.join(name), value)));
            }
            (_, value) => changes.push(set(root.join(key), value)),
        }
    }
    changes.extend(rules);
    changes
}

/// A secret's value that counts, for `founder` and the recovery keys. Who held it may know it.
fn secret(
    document: &Value,
    value: &Value,
    key: &Identity,
    founder: NodeId,
    now: Timestamp,
) -> Result<SecretRecord, RestoreError> {
    let record = serde_json::from_value::<SecretRecord>(value.clone());
    let mut record = record.map_err(|_| SealError::NotSealed)?;
    let current = record.current().map(|(id, value)| (id.to_owned(), value.clone()));
    let (id, mut current) = current.ok_or(SealError::NotSealed)?;
    let value_key = Opener::Recovery(key.clone()).value_key(&current)?;
    let seed = Zeroizing::new(clock::random()?);
    for holder in current.keys.keys().filter(|holder| **holder != founder) {
        let name = document[MEMBERS][holder.to_string()]["name"].as_str();
        let name = name.map_or_else(|| Name::from_hostname(&holder.short()), Name::from_hostname);
        let exposure = Exposure { name, value: id.clone(), reason: LOST.to_owned(), at: now };
        current.exposed.insert(*holder, exposure);
    }
    let sealed = seal_key(&value_key, Recipient::of(founder), &seed)?;
    current.keys = [(founder, sealed)].into();
    record.values = [(id, current)].into();
    Ok(record)
}

fn batches(changes: Vec<DocumentChange>) -> Vec<Vec<DocumentChange>> {
    let mut batches: Vec<Vec<DocumentChange>> = Vec::new();
    let mut size = usize::MAX;
    for change in changes {
        let length = json!(change).to_string().len();
        if size.saturating_add(length) > BATCH_SIZE_MAX {
            batches.push(Vec::new());
            size = 0;
        }
        size += length;
        if let Some(batch) = batches.last_mut() {
            batch.push(change);
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(change: &DocumentChange) -> &str {
        match change {
            DocumentChange::Set { path, .. } | DocumentChange::Unset { path } => path,
        }
    }

    #[test]
    fn what_is_large_is_written_in_pieces_and_rules_come_last() {
        let large = "x".repeat(400_000);
        let document = json!({
            "version": 1, "members": {"a": 1}, "tickets": {"t": 1}, "later": {"kept": true},
            "machines": {"nonsense": 1}, "retired": {"i": {"name": "old"}},
            "config": {
                "modules": {"a": {"files": &large}, "b": {"files": &large}, "c": {"files": &large}},
                "rules": {"r": {"min": 1}},
                "user": {"motto": "kept"},
            },
        });
        let key = Identity::draw(&[1; 32]);
        let founder = crate::model::identity::testing::key(1).node_id();
        let now = Timestamp::from_millis(1);
        let restored = restored(&document, &key, founder, now, true).unwrap();
        let written: Vec<Vec<&str>> =
            restored.batches.iter().map(|batch| batch.iter().map(path).collect()).collect();
        assert_eq!(written.len(), 3, "{written:?}");
        let all = written.concat();
        let expected = [
            "retired.i",
            "later",
            "config",
            "config.modules.a",
            "config.modules.b",
            "config.modules.c",
            "config.user",
            "config.rules",
        ];
        assert_eq!(all, expected);
        assert_eq!(restored.lost, Vec::<String>::new());
    }
}
