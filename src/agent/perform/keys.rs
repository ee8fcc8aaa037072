//! Who may log in to a machine that is made: whoever made it, and all who may have to go on with it.
//! The cluster has a key of its own for that. Besides, each member, and each computer from which
//! somebody spawns, writes the public half of its own SSH key into the document; the secret half never
//! leaves it.

use serde_json::Value;
use serde_json::json;
use sha2::Digest;

use crate::agent::api::DocumentChange;
use crate::agent::api::WriteRequest;
use crate::agent::clock::wall_clock;
use crate::agent::cluster_key;
use crate::agent::cluster_key::is_key;
use crate::agent::error::chain;
use crate::agent::perform::door::Door;
use crate::agent::perform::job::Failure;
use crate::agent::perform::settings::Performer;

/// Top-level key of the document: public keys by who holds the secret half, a member's id or, for a
/// computer that is no member, [`USER`] and a digest of the key.
const SSH_KEYS: &str = "ssh_keys";

/// What stands before the digest of a key that no member holds.
const USER: &str = "user-";

/// Other keys that may log in to one machine, at most.
const KEYS_MAX: usize = 64;

impl Performer {
    /// The public keys that may log in to a new machine of a compute type: raptor's own, made on
    /// first use, the cluster's, and those that the document behind `door` names. None where nobody
    /// logs in.
    ///
    /// # Errors
    /// When the own one cannot be made.
    pub async fn authorized_keys(
        &self,
        compute_type: &str,
        door: Option<&dyn Door>,
    ) -> Result<Vec<String>, Failure> {
        let Some(own) = self.own_key(compute_type).await? else { return Ok(Vec::new()) };
        let document = match door {
            Some(door) => door.document().await.unwrap_or_default(),
            None => Value::Null,
        };
        let others = keys_of(&document).filter(|key| *key != own).take(KEYS_MAX);
        let others: Vec<String> = others.map(str::to_owned).collect();
        let clusters = cluster_key::public_of(&document);
        Ok(std::iter::once(own).chain(clusters).chain(others).collect())
    }

    /// Writes the public key with which machines of a compute type are logged in to into the
    /// document, unless it is there, as that of the member that performs or of this computer. Makes the
    /// cluster's own, too, where that is due.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub async fn publish_key(&self, compute_type: &str, door: &dyn Door) -> Result<(), Failure> {
        let Some(own) = self.own_key(compute_type).await? else { return Ok(()) };
        let failed = |error| Failure::at("write raptor's public SSH key down", chain(&error));
        let document = door.document().await.map_err(failed)?;
        let cluster = cluster_key::renewal(&document, wall_clock());
        let mut changes: Vec<DocumentChange> = cluster
            .map_err(|error| Failure::at("make the cluster's SSH key", chain(&error)))?
            .into_iter()
            .collect();
        if keys_of(&document).all(|key| key != own) {
            let holder = self.settings().member.map_or_else(|| user(&own), |node| node.to_string());
            let path = format!("{SSH_KEYS}.{holder}");
            changes.push(DocumentChange::Set { path, value: json!(own) });
        }
        if changes.is_empty() {
            return Ok(());
        }
        let note = "SSH keys for machines that are made".to_owned();
        door.write(WriteRequest { note, changes }).await.map_err(failed)
    }
}

fn user(key: &str) -> String {
    let digest = sha2::Sha256::digest(key);
    format!("{USER}{}", data_encoding::HEXLOWER.encode(&digest[..8]))
}

/// The document's keys whose holders are members, or no machines. What is no plain key is passed
/// over: it would be a line of `authorized_keys`.
fn keys_of(document: &Value) -> impl Iterator<Item = &str> {
    let members = document.get("members");
    let is_trusted = move |holder: &str| {
        let member = members.and_then(|members| members.get(holder));
        holder.starts_with(USER)
            || member.is_some_and(|member| member.get("evicted") != Some(&Value::Bool(true)))
    };
    let keys = document.get(SSH_KEYS).and_then(Value::as_object).into_iter().flatten();
    let keys = keys.filter(move |(holder, _)| is_trusted(holder));
    keys.filter_map(|(_, key)| key.as_str().filter(|key| is_key(key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::testing::key;

    const GOOD: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJvZ3VzYm9ndXNib2d1c2JvZ3VzYm9ndXNib2d1c2Jv raptor";

    #[test]
    fn keys_of_those_put_out_and_lines_that_are_no_keys_are_passed_over() {
        let (stays, went, never) = (key(1).node_id(), key(2).node_id(), key(3).node_id());
        let document = json!({
            "members": {stays.to_string(): {}, went.to_string(): {"evicted": true}},
            "ssh_keys": {
                stays.to_string(): format!("{GOOD} 1"),
                went.to_string(): format!("{GOOD} 2"),
                never.to_string(): format!("{GOOD} 3"),
                user(GOOD): GOOD,
                "user-a": format!("command=\"true\" {GOOD}"),
                "user-b": format!("{GOOD}\n{GOOD}"),
                "user-c": "ssh-ed25519 short",
                "user-d": 7,
            },
        });
        let mut found: Vec<&str> = keys_of(&document).collect();
        found.sort_unstable();
        assert_eq!(found, [GOOD.to_owned(), format!("{GOOD} 1")]);
        assert_eq!(keys_of(&Value::Null).count(), 0);
    }
}
