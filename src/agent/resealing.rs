//! How it is written down that a secret was sealed to some and taken from others.

use std::collections::BTreeMap;

use serde_json::json;

use crate::config::change::Change;
use crate::config::document::views::SECRETS;
use crate::config::path::Path;
use crate::model::identity::NodeId;
use crate::model::secret::Exposure;
use crate::model::time::Timestamp;
use crate::reconcile::sealing::Resealing;

/// A value's key, as it was just sealed to those who lacked it.
#[derive(Debug, Clone, Default)]
pub struct NewSeals {
    /// To members.
    pub members: BTreeMap<NodeId, String>,
    /// To recovery keys, by their public halves.
    pub recovery: BTreeMap<String, String>,
}

/// What is to be written of `resealing`, with what was sealed for it.
///
/// Who is taken out is listed with the value that it knows, and nowhere else: the halves of a cut
/// network may put one member out of different values, and both stay true when they meet.
#[must_use]
pub fn changes(resealing: &Resealing, seals: NewSeals, now: Timestamp) -> Vec<Change> {
    let values = Path::root().join(SECRETS).join(resealing.secret.as_str()).join("values");
    let value = values.join(&resealing.value);
    let (keys, recovery) = (value.join("keys"), value.join("recovery"));
    let set = |path: Path, value| Change::Set { path, value };
    let unset = |path: Path| Change::Unset { path };
    let mut changes = Vec::new();
    for (node, sealed) in seals.members {
        changes.push(set(keys.join(node.to_string()), json!(sealed)));
    }
    for (public, sealed) in seals.recovery {
        changes.push(set(recovery.join(public), json!(sealed)));
    }
    for (node, (name, reason)) in &resealing.remove {
        let exposure = Exposure {
            name: name.clone(),
            value: resealing.value.clone(),
            reason: (*reason).to_owned(),
            at: now,
        };
        changes.push(unset(keys.join(node.to_string())));
        changes.push(set(value.join("exposed").join(node.to_string()), json!(exposure)));
    }
    changes.extend(resealing.remove_recovery.iter().map(|public| unset(recovery.join(public))));
    changes.extend(resealing.forget.iter().map(|id| unset(values.join(id))));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;
    use crate::config::document::testing::admission;
    use crate::config::document::testing::genesis;
    use crate::config::document::testing::set;
    use crate::config::document::testing::sync;
    use crate::config::document::testing::write;
    use crate::model::identity::testing::key;
    use crate::reconcile::sealing::PUT_OUT;

    const AT: Timestamp = Timestamp::from_millis(5);

    fn value(id: &str, set_at: u64, holder: NodeId) -> serde_json::Value {
        let set_at = Timestamp::from_millis(set_at);
        json!({"values": {id: {"set_at": set_at, "sealed": "", "keys": {holder.to_string(): ""}}}})
    }

    fn put_out(node: NodeId, value: &str) -> Vec<Change> {
        let resealing = Resealing {
            secret: "token".parse().unwrap(),
            value: value.to_owned(),
            add: Vec::new(),
            add_recovery: Vec::new(),
            remove: [(node, ("m".parse().unwrap(), PUT_OUT))].into(),
            remove_recovery: Vec::new(),
            forget: Vec::new(),
        };
        changes(&resealing, NewSeals::default(), AT)
    }

    /// Two halves of a cut network put the same member out; one of them has set a new value. The
    /// other was busier by `noise` writes, so that its word is the last on what both write.
    #[test]
    fn who_knows_the_value_that_counts_is_listed_whichever_half_wrote_last() {
        for noise in [0, 20] {
            let (first, second, gone) = (key(1), key(2), key(3).node_id());
            let mut here = Document::new(genesis(&first), 1);
            let founding = [
                admission(first.node_id()),
                admission(second.node_id()),
                set("secrets.token", value("old", 1, gone)),
            ];
            write(&mut here, &first, &founding);
            let mut there = Document::new(genesis(&first), 2);
            sync(&here, &mut there);
            for number in 0..noise {
                write(&mut here, &first, &[set("config.noise", number)]);
            }
            write(&mut here, &first, &put_out(gone, "old"));
            write(&mut there, &second, &[set("secrets.token", value("new", 2, gone))]);
            write(&mut there, &second, &put_out(gone, "new"));
            sync(&here, &mut there);
            sync(&there, &mut here);
            let secrets = here.secrets();
            let record = &secrets[&"token".parse().unwrap()];
            let (id, value) = record.current().unwrap();
            assert_eq!((id, value.keys.len()), ("new", 0));
            let listed = record.to_rotate();
            assert_eq!(listed.get(&gone).map(|known| known.value.as_str()), Some("new"), "{noise}");
        }
    }
}
