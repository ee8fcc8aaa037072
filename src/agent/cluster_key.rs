//! The cluster's own SSH key: a secret like any other, sealed to the full members and the recovery key,
//! whose public half may log in to every machine that was made. So whoever is left can, also who came
//! later. See `docs/decisions/0013-cluster-ssh-key.md`.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use zeroize::Zeroizing;

use crate::agent::api::DocumentChange;
use crate::agent::clock;
use crate::agent::clock::RandomError;
use crate::agent::recovery;
use crate::config::document::views::MEMBERS;
use crate::config::document::views::SECRETS;
use crate::model::identity::NodeId;
use crate::model::member::Role;
use crate::model::secret::SecretRecord;
use crate::model::secret::SecretValue;
use crate::model::ssh_key::SshKey;
use crate::model::time::Timestamp;
use crate::seal::error::SealError;
use crate::seal::key::Recipient;
use crate::seal::secret::seal;

/// Name of the secret.
pub const CLUSTER_KEY: &str = "cluster-ssh";

/// What `raptor secret ls` says it is for.
const NOTE: &str = "logs in to every machine that was made; kept by the members";

/// How old a key must be before members replace it because somebody who was put out knows it: a fleet
/// that loses machines every minute does not make as many keys.
const REPLACE_AFTER: Duration = Duration::from_secs(3600);

/// Why there is no new key.
#[derive(Debug, thiserror::Error)]
pub enum ClusterKeyError {
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// A key pair that nobody had before, sealed to `holders` and the `recovery` keys: the value's id, and
/// the value.
///
/// # Errors
/// As [`ClusterKeyError`] says.
pub fn draw(
    holders: impl IntoIterator<Item = NodeId>,
    recovery: &[Recipient],
    now: Timestamp,
) -> Result<(String, SecretValue), ClusterKeyError> {
    let key = SshKey::from_seed(&Zeroizing::new(clock::random()?));
    let seed = Zeroizing::new(clock::random()?);
    let mut value = seal(&key.secret_file, holders, recovery, now, &seed)?;
    value.public = Some(format!("{} {CLUSTER_KEY}", key.public_line()));
    Ok((clock::value_id()?, value))
}

/// The whole secret with `value` as its first.
#[must_use]
pub fn record((id, value): (String, SecretValue)) -> SecretRecord {
    let values = [(id, value)].into();
    SecretRecord { note: NOTE.to_owned(), values, ..SecretRecord::default() }
}

/// Whether the members are to make a new one: there is none, or the one there is was known to
/// somebody who was put out, for long enough.
#[must_use]
pub fn is_due(record: Option<&SecretRecord>, now: Timestamp) -> bool {
    let Some((_, value)) = record.and_then(SecretRecord::current) else { return true };
    let is_exposed = record.is_some_and(|record| !record.to_rotate().is_empty());
    is_exposed && now.since(value.set_at) >= REPLACE_AFTER
}

/// The public half of the key that counts, as a line of `authorized_keys`.
#[must_use]
pub fn public(record: &SecretRecord) -> Option<&str> {
    let (_, value) = record.current()?;
    value.public.as_deref().filter(|line| is_key(line))
}

/// The same, in the whole document.
#[must_use]
pub fn public_of(document: &Value) -> Option<String> {
    let record = document.get(SECRETS)?.get(CLUSTER_KEY)?;
    let record: SecretRecord = serde_json::from_value(record.clone()).ok()?;
    public(&record).map(str::to_owned)
}

/// What is to be written into `document` when a new key is due, sealed to all full members and the
/// recovery keys. Two that do so at once end with one of the two.
///
/// # Errors
/// As [`ClusterKeyError`] says.
pub fn renewal(
    document: &Value,
    now: Timestamp,
) -> Result<Option<DocumentChange>, ClusterKeyError> {
    let known = document.get(SECRETS).and_then(|secrets| secrets.get(CLUSTER_KEY));
    let known = known.map(|record| serde_json::from_value::<SecretRecord>(record.clone()));
    // What cannot be read is a later build's, which that one looks after.
    let Ok(known) = known.transpose() else { return Ok(None) };
    if is_due(known.as_ref(), now) { new_one(document, now).map(Some) } else { Ok(None) }
}

/// What is to be written into `document` for a new key, due or not.
///
/// # Errors
/// As [`ClusterKeyError`] says.
pub fn new_one(document: &Value, now: Timestamp) -> Result<DocumentChange, ClusterKeyError> {
    let path = format!("{SECRETS}.{CLUSTER_KEY}");
    let is_known = document.pointer(&format!("/{SECRETS}/{CLUSTER_KEY}/values")).is_some();
    let recovery = recovery::recipients(document).unwrap_or_default();
    let (id, value) = draw(full_members(document), &recovery, now)?;
    Ok(if is_known {
        DocumentChange::Set { path: format!("{path}.values.{id}"), value: json!(value) }
    } else {
        DocumentChange::Set { path, value: json!(record((id, value))) }
    })
}

/// The full members that `document` names.
pub(super) fn full_members(document: &Value) -> Vec<NodeId> {
    let members = document.get(MEMBERS).and_then(Value::as_object);
    let is_full = |member: &Value| {
        let role = member.get("role").cloned().unwrap_or_default();
        let role = serde_json::from_value::<Role>(role).unwrap_or_default();
        role == Role::Full && member.get("evicted") != Some(&Value::Bool(true))
    };
    let full = members.into_iter().flatten().filter(|(_, member)| is_full(member));
    full.filter_map(|(node, _)| node.parse().ok()).collect()
}

/// Longest key that is believed to be one.
const KEY_LENGTH_MAX: usize = 512;

/// Whether `line` is a key as `ssh-keygen -t ed25519` writes it: without options before it. What is
/// none would be a line of `authorized_keys`.
#[must_use]
pub fn is_key(line: &str) -> bool {
    let mut words = line.split(' ');
    let is_base64 = |word: &str| {
        word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
    };
    line.len() <= KEY_LENGTH_MAX
        && !line.chars().any(char::is_control)
        && words.next() == Some("ssh-ed25519")
        && words.next().is_some_and(|word| word.len() >= 64 && is_base64(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::testing::key;
    use crate::model::secret::Exposure;
    use crate::seal::secret::Opener;

    #[test]
    fn a_holder_opens_what_belongs_to_the_public_half() {
        let member = key(1);
        let now = Timestamp::from_millis(1);
        let made = record(draw([member.node_id()], &[], now).unwrap());
        let (_, value) = made.current().unwrap();
        let secret = Opener::member(&member).open(value).unwrap();
        assert!(secret.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
        let line = public(&made).unwrap();
        assert!(line.starts_with("ssh-ed25519 ") && line.ends_with(" cluster-ssh"), "{line}");
        assert!(!line.contains(secret.lines().nth(1).unwrap()));
        let document = json!({"secrets": {"cluster-ssh": made}});
        assert_eq!(public_of(&document).as_deref(), Some(line));
        // What a member writes there that is no key opens nothing.
        let mut wrong = made.clone();
        let value = wrong.values.values_mut().next().unwrap();
        value.public = Some(format!("command=\"true\" {line}"));
        assert_eq!(public(&wrong), None);
    }

    #[test]
    fn it_is_made_for_full_members_and_replaced_beside_the_old_one() {
        let (full, worker, gone) = (key(1).node_id(), key(2).node_id(), key(3).node_id());
        let members = json!({
            full.to_string(): {"role": "full"}, worker.to_string(): {"role": "worker"},
            gone.to_string(): {"role": "full", "evicted": true},
        });
        let mut document = json!({"members": members});
        let now = Timestamp::from_millis(10_000_000);
        let made = renewal(&document, now).unwrap();
        let Some(DocumentChange::Set { path, value }) = made else { panic!("none is made") };
        assert_eq!(path, "secrets.cluster-ssh");
        let first: SecretRecord = serde_json::from_value(value.clone()).unwrap();
        let (id, holders) = first.current().map(|(id, it)| (id.to_owned(), &it.keys)).unwrap();
        assert_eq!(holders.keys().collect::<Vec<_>>(), [&full]);
        document["secrets"] = json!({ "cluster-ssh": value });
        let later = now.after(REPLACE_AFTER);
        assert!(renewal(&document, later).unwrap().is_none());
        document["secrets"]["cluster-ssh"]["exposed"] =
            json!({gone.to_string(): {"name": "m", "value": id, "reason": "r", "at": now}});
        let made = renewal(&document, later).unwrap();
        let Some(DocumentChange::Set { path, .. }) = made else { panic!("none is made") };
        assert!(path.starts_with("secrets.cluster-ssh.values.") && !path.ends_with(&id), "{path}");
        document["secrets"]["cluster-ssh"] = json!({"values": 7});
        assert!(renewal(&document, later).unwrap().is_none(), "it is a later build's");
    }

    #[test]
    fn one_that_is_known_outside_is_replaced_but_not_every_minute() {
        let now = Timestamp::from_millis(10_000_000);
        assert!(is_due(None, now));
        let (id, value) = draw([key(1).node_id()], &[], now).unwrap();
        let mut known = record((id.clone(), value));
        let later = now.after(REPLACE_AFTER);
        assert!(!is_due(Some(&known), later), "nobody knows it");
        let reason = "put out".to_owned();
        let exposure = Exposure { name: "m".parse().unwrap(), value: id, reason, at: now };
        let mut known_by_an_earlier_build = known.clone();
        known_by_an_earlier_build.exposed.insert(key(2).node_id(), exposure.clone());
        let value = known.values.values_mut().next().unwrap();
        value.exposed.insert(key(2).node_id(), exposure);
        for known in [&known, &known_by_an_earlier_build] {
            assert!(!is_due(Some(known), now) && is_due(Some(known), later));
        }
        known.values.clear();
        assert!(is_due(Some(&known), now), "there is none");
    }
}
